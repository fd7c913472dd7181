from firenet.theorem.planned import (
    network as network,
    schedule as schedule,
    steps as steps,
)
