# Two commands are enough: `make demo` and `make test`. Everything is installed into .venv, nothing elsewhere.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A stranger who wants a CPU build of torch: make demo TORCH_INDEX=<index of CPU wheels>
TORCH_INDEX ?=
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
CODE := src tests benchmarks models docs examples

.PHONY: demo test interop .FORCE soundness fuzz jitter kernels faults mutants check check-matrix docs layers bench accuracy clean

demo: $(VENV)/.demo  ## reconstruct two real data sets; pictures and numbers in demo-output/
	$(BIN)/firenet demo --out demo-output

test: $(VENV)/.test  ## the whole test suite
	$(BIN)/python -m compileall -q src models/src  # for the processes that tests start, also where none may write bytecode
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal

jitter: $(VENV)/.test  ## the test suite on five imitated processors, whose sums come out in other last digits
	for seed in 1 2 3 4 5; do \
		FIRENET_JITTER=$$seed OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto || exit 1; \
	done

kernels: $(VENV)/.test  ## the test suite with other kernels of torch and MKL, with compiled layers, and with two threads
	ATEN_CPU_CAPABILITY=default OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal
	ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=COMPATIBLE OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal
	FIRENET_ENGINE=compiled OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest -q

soundness: $(VENV)/.test  ## 10,000 problems: no claim may be false, no bound below the truth; half an hour; SOUNDNESS="--share 0.1"
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -W ignore soundness.py $(SOUNDNESS)
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -W ignore distances.py --problems 63
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -W ignore digits_cases.py
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -W ignore norms.py

fuzz: $(VENV)/.test  ## 20,000 damaged files through every reader; some 20 minutes; FUZZ="--only npz --count 500"
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz.py $(FUZZ)

faults: $(VENV)/.test  ## kill -9, signals, full disks, closed folders, two runs at once, odd terminals: some half an hour
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python faults.py

mutants: $(VENV)/.check  ## 300 small changes of the code, each of which a test should notice: hours; MUTANTS="--only network"
	$(BIN)/python tests/mutants.py $(MUTANTS)

check: $(VENV)/.check  ## style, spelling and types: what .pre-commit-config.yaml has, without pre-commit
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/typos
	$(BIN)/python tests/tidy.py
	$(BIN)/pyright --pythonpath $(BIN)/python

check-matrix: $(VENV)/.test  ## by hand: the tests on every Python, with lowest versions, without extras, in float32; MATRIX="--only lowest"
	$(BIN)/python tests/matrix.py $(MATRIX)

docs: $(VENV)/.docs  ## the site, in docs/_build/html; warnings are errors, nothing is fetched; a minute
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

layers: $(VENV)/.demo  ## the cost of one layer in units of two FFTs, layers against accuracy, memory
	$(BIN)/python benchmarks/layer.py
	$(BIN)/python benchmarks/depth.py
	$(BIN)/python benchmarks/memory.py

BRIDGES = deepinv pylops sigpy mri_nufft torchkbnufft mrpro odl astra mbirtorch
interop: $(foreach library,$(BRIDGES),.interop/$(library))  ## the bridges to other libraries, one environment each

# A library itself comes without its dependencies: some of them ask for another torch.
INTEROP_deepinv = deepinv==0.5.0 torchvision==0.28.0
BESIDE_deepinv = einops natsort tqdm requests torchmetrics h5py scikit-image
INTEROP_pylops = pylops==2.8.0
INTEROP_sigpy = sigpy==0.1.27
BESIDE_sigpy = numba tqdm
INTEROP_mri_nufft = mri-nufft==1.5.1
BESIDE_mri_nufft = finufft tqdm
INTEROP_torchkbnufft = torchkbnufft==1.5.2
INTEROP_mrpro = mrpro==0.261015 torchvision==0.28.0 pytorch-finufft torchnd ptwt==0.1.9
BESIDE_mrpro = finufft pypulseq einops platformdirs requests tqdm ismrmrd pydicom nibabel
# The plugin for pytest that ODL brings does not load with pytest 9.
INTEROP_odl = odl==1.0.0
BESIDE_odl = array-api-compat future setuptools
PYTEST_odl = -p no:odl_plugins
# ASTRA is linked with these libraries, also where there is no GPU.
INTEROP_astra = astra-toolbox==2.5.0 nvidia-cuda-runtime-cu12 nvidia-cufft-cu12
INTEROP_mbirtorch = mbirtorch==0.2.0
BESIDE_mbirtorch = h5py tifffile tqdm psutil olefile osqp

.interop/%: .FORCE
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e '.[scipy]' pytest hypothesis $(BESIDE_$*)
	$@/bin/python -m pip install -q --disable-pip-version-check --no-deps $(INTEROP_$*)
	OMP_NUM_THREADS=1 $@/bin/python -m pytest -q -W default $(PYTEST_$*) tests/bridges/test_$*.py

.FORCE:

bench: benchmarks/.venv/.made  ## time to accuracy against SigPy, deepinv, PyProximal, BART, cvxpy: hours; BENCH=--quick: minutes
	benchmarks/.venv/bin/python benchmarks/run.py $(BENCH)
	benchmarks/.venv/bin/python benchmarks/report.py

accuracy: benchmarks/.venv/.made  ## image quality against SigPy, BART and deepinv, each tuned for every image: two hours
	benchmarks/.venv/bin/python benchmarks/accuracy.py --jobs 2 $(ACCURACY)

benchmarks/.venv/.made: pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv benchmarks/.venv
	benchmarks/.venv/bin/python -m pip install --disable-pip-version-check -c constraints.txt \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e '.[mri]' -r benchmarks/requirements.txt
	touch $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "firenet needs Python 3.11 or newer; use: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml models/pyproject.toml constraints.txt
	$(INSTALL) -e '.[fast,scipy]' -e ./models
	touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml models/pyproject.toml constraints.txt
	$(INSTALL) -e '.[test]' -e ./models
	touch $@ $(VENV)/.demo

$(VENV)/.check: $(VENV)/.test
	$(INSTALL) -e '.[test,check]' -e ./models
	touch $@

$(VENV)/.docs: $(VENV)/.demo
	$(INSTALL) -e '.[docs]' -e ./models
	touch $@

clean:
	rm -rf $(VENV) .matrix demo-output docs/_build docs/api docs/gallery
