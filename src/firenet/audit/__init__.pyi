from firenet.audit.attack import attack as attack
from firenet.audit.model import Model as Model
from firenet.audit.records import (
    Audit as Audit,
)
from firenet.audit.records import (
    Outcome as Outcome,
)
from firenet.audit.records import (
    Row as Row,
)
from firenet.audit.records import (
    Settings as Settings,
)
from firenet.audit.records import (
    Thresholds as Thresholds,
)
from firenet.audit.records import (
    Verdict as Verdict,
)
from firenet.audit.report import write_report as write_report
from firenet.audit.run import audit as audit
from firenet.audit.verdicts import judge as judge
