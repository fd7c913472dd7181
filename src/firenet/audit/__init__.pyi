from firenet.audit.model import Model as Model
from firenet.audit.records import (
    Audit as Audit,
    Outcome as Outcome,
    Row as Row,
    Settings as Settings,
    Thresholds as Thresholds,
    Verdict as Verdict,
)
from firenet.audit.report import write_report as write_report
from firenet.audit.run import audit as audit
from firenet.audit.verdicts import judge as judge
