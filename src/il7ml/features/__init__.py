"""Feature pipelines: baseline variables to design matrices. Features never see outcomes."""
