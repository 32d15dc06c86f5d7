"""The service: a JSON API and one page over the predictor."""
