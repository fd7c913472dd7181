"""An algorithm of your own for the barriers: it reads each sample once, to 40 bits, and believes the label."""

from firenet.barriers import Problem, TrainingSet, defeat, trial
from firenet.barriers.instances import Vector


def trusting(training_set: TrainingSet) -> list[Vector]:
    """Returns for each sample the label that it is shown, to within 2**-40."""
    return [training_set.sample(40, k).x for k in range(len(training_set))]


def main() -> tuple[str, bool]:
    """Plays it: the adversary defeats it at K = 8 digits, and how it fares at 6 is tried on 20 inputs."""
    problem = Problem("P3", digits=8)
    return defeat(trusting, problem).statement, trial(trusting, problem, 6, plays=20, seed=1).passed


if __name__ == "__main__":
    print(main())
