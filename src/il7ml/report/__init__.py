"""Reports: self-contained HTML pages of an analysis or a training, and results in plain words."""
