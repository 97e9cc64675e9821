"""A recipe as a job of a cluster: files for SLURM and for SkyPilot, written from the recipe and its plan."""
