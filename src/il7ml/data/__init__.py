"""Data: study files, readers, the validated cohort, and the simulator. Nothing here imputes or transforms."""
