"""Endpoints: what was observed in one shape for the learners (`outcome`), and the trial's own analysis of it.

Each kind of endpoint has its file, arrays or small frames in, `result.EndpointResult` out:

- binary: `proportions`; number of events: `rates`, `andersen_gill`;
- time to event: `cox`, `competing`, `kaplan_meier`, `restricted_mean`, `pseudo_observations`;
- measurements: `visits`, then `repeated`, `final_ratio`, `ancova`, `imputation`; days: `durations`, `rank_test`;
- adverse events: `safety`;
- across endpoints and patients: `multiplicity`, `subgroups`, `interactions`.
"""
