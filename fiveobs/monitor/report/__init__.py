"""How the jobs of a period went: worked out here, written down by ``fiveobs report``."""
