"""The work of ``lstm compare``: cases, the two paths side by side, the report."""
