"""One small job of a process that has nothing to do with the others on the machine."""

from __future__ import annotations

from fiveobs import observe_job

if __name__ == "__main__":
    with observe_job("look-around", service="bystander"):
        pass
