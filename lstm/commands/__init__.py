"""The commands of ``lstm``: one file each, which imports what it works with once it runs."""
