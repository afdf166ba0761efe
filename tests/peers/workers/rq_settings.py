"""Settings of an RQ worker (``rq worker -c rq_settings``) that sends what its work horses leave."""

from __future__ import annotations

import fiveobs

fiveobs.configure()
