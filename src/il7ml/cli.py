"""The command line. Each command makes one call and prints; nothing is computed here.

Exit codes: 0 done, 1 our fault, 2 bad input, 3 out of scope, 4 a bundle refused.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from il7ml import __version__, texts
from il7ml.errors import Il7mlError, InputError, OutOfScopeError

_INTERRUPTED = 130
_URI = "tracking store (default: the project's, or MLFLOW_TRACKING_URI)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    # Several libraries' threads inside several worker processes make a small machine slower, not faster.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        code = run(arguments)
        sys.stdout.flush()  # here, where a reader that has gone is noticed and forgiven
        return code
    except Il7mlError as error:
        print(f"il7ml: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("il7ml: interrupted. Nothing was left half written.", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has gone; Python would complain once more when it flushes on the way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # the last door: whatever comes is our fault, and is said so
        if os.environ.get("IL7ML_DEBUG"):
            raise
        # An unexpected error's own text may hold values, so only its kind is shown.
        print(
            f"il7ml: failed unexpectedly ({type(error).__name__}). This is a fault of il7ml: please report it with the "
            "output of the same command under IL7ML_DEBUG=1.",
            file=sys.stderr,
        )
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="il7ml",
        description="Risk of secondary infection and effect of IL-7 in critically ill patients with lymphopenia.",
        epilog="Research use only. Start with: il7ml check data/il7_trial/study.yaml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"il7ml {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    check = _command(commands, "check", _check, "show what a study's data hold, or everything that is wrong with them")
    check.add_argument("study", type=Path, metavar="STUDY", help="study file, or the folder that holds study.yaml")
    _example(check, "il7ml check data/cgd/study.yaml")

    simulate = _command(
        commands, "simulate", _simulate, "write a simulated IL-7 trial: patients, labs, events, study.yaml"
    )
    simulate.add_argument("--n", type=int, default=109, help="patients (default 109)")
    simulate.add_argument("--seed", type=int, default=0, help="seed (default 0)")
    simulate.add_argument(
        "--scenario", default="published", help="published, patients, null, strong_modifier, or a file"
    )
    simulate.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the tables")
    simulate.add_argument("--truth", type=Path, metavar="DIR", help="another folder for the true risks and effects")
    simulate.add_argument("--format", choices=["parquet", "csv"], default="parquet")
    _example(simulate, "il7ml simulate --n 109 --seed 1 --scenario strong_modifier --out trial --truth truth")

    train = _command(
        commands, "train", _train, "train, validate, explain, track and register models; prints the run id last"
    )
    train.add_argument("config", type=Path, metavar="CONFIG", nargs="?", help="training config (YAML)")
    train.add_argument("--from-run", metavar="RUN", help="instead of CONFIG: do a recorded training again, and compare")
    train.add_argument("--uri", help=f"with --from-run: {_URI}")
    _settings(train)
    _example(train, "il7ml train configs/cgd.yaml --set validation.repeats=20")

    sweep = _command(
        commands,
        "sweep",
        _sweep,
        "train every candidate of a grid or a search, and compare them; prints the run id last",
    )
    sweep.add_argument("config", type=Path, metavar="CONFIG", help="sweep config (YAML); the same again goes on")
    _settings(sweep, "base config")
    _example(sweep, "il7ml sweep configs/sweep_il7_trial.yaml --set validation.repeats=5")

    analyze = _command(
        commands, "analyze", _analyze, "compare the arms on every endpoint of a trial; prints the run id last"
    )
    analyze.add_argument("config", type=Path, metavar="CONFIG", help="config (YAML)")
    analyze.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for endpoints.csv, further tables, figures and report.html"
    )
    _settings(analyze)
    _example(analyze, "il7ml analyze configs/il7_trial.yaml --out results")

    power = _command(commands, "power", _power, "power or sample size of the next trial, from simulated trials")
    power.add_argument(
        "--endpoint", default="infections", help="what is compared (default infections); a wrong name lists all"
    )
    power.add_argument(
        "--n", type=int, nargs="+", default=[109], help="patients in both arms, one or several numbers (default 109)"
    )
    power.add_argument(
        "--target-power", type=float, metavar="P", help="find the number of patients instead, for example 0.8"
    )
    power.add_argument(
        "--modifier", metavar="NAME", help="power of its interaction with treatment, e.g. antiviral_at_randomisation"
    )
    power.add_argument("--covariates", nargs="+", default=[], metavar="NAME", help="baseline variables to adjust for")
    power.add_argument(
        "--negative-binomial", action="store_true", help="for numbers of events, instead of Poisson with robust error"
    )
    power.add_argument("--scenario", default="published", help="published, patients, null, strong_modifier, or a file")
    power.add_argument("--trials", type=int, default=500, help="simulated trials of each size (default 500)")
    power.add_argument(
        "--largest", type=int, default=5000, help="with --target-power: patients at which the search gives up"
    )
    power.add_argument("--alpha", type=float, default=0.05, help="two-sided (default 0.05)")
    power.add_argument("--seed", type=int, default=0, help="seed (default 0)")
    power.add_argument("--workers", type=int, default=0, help="processes, 0 for all cores; no influence on results")
    power.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers take part instead")
    power.add_argument("--out", type=Path, metavar="DIR", help="folder for power.csv and power.png")
    _example(power, "il7ml power --endpoint infections --n 109 150 200 250 300 --trials 500 --out plan")

    predict = _command(
        commands, "predict", _predict, "risk without and with treatment for a patient or a table of patients"
    )
    predict.add_argument(
        "--model", default="champion", metavar="URI", help="champion, a run id, models:/NAME@ALIAS, a folder"
    )
    predict.add_argument("--uri", help="tracking store (default: the project's, or MLFLOW_TRACKING_URI)")
    predict.add_argument("--patient", metavar="FILE.json", help="one patient; - reads standard input")
    predict.add_argument(
        "--in", dest="table", type=Path, metavar="TABLE", help="patients as CSV or Parquet, or a folder of Parquet"
    )
    predict.add_argument("--out", type=Path, metavar="TABLE", help="where the answers go, of the same kind")
    predict.add_argument(
        "--interactive", action="store_true", help="ask for one patient's values; so without input on a terminal"
    )
    predict.add_argument("--format", choices=["text", "json"], default="text")
    _example(predict, "il7ml predict --patient data/il7_trial/patient.json --format json")

    recalibrate = _command(
        commands, "recalibrate", _recalibrate, "adapt a model's risks to untreated patients of another setting"
    )
    recalibrate.add_argument(
        "--model", default="champion", metavar="URI", help="champion, a run id, models:/NAME@ALIAS, a folder"
    )
    recalibrate.add_argument("--uri", help=_URI)
    recalibrate.add_argument(
        "--in",
        dest="source",
        type=Path,
        required=True,
        metavar="STUDY|TABLE",
        help="a study (its control arm is used), or a table of untreated patients with a column for the outcome",
    )
    recalibrate.add_argument("--outcome", help="endpoint or column (default: named as the model's endpoint)")
    recalibrate.add_argument("--place", help="what patients these are; needed for a table")
    recalibrate.add_argument(
        "--method",
        choices=["test", "intercept", "intercept_slope"],
        default="test",
        help="what may change; by default tests decide, nothing included",
    )
    recalibrate.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="folder for the new model")
    _example(recalibrate, "il7ml recalibrate --in ward.csv --outcome infection --place 'our ward, 2026' --out adapted")

    promote = _command(commands, "promote", _promote, "make a run's model the champion that predict uses by default")
    promote.add_argument("model", metavar="RUN", nargs="?", help="run id or models:/NAME/VERSION")
    promote.add_argument("--force", action="store_true", help="promote in spite of objections; needs --reason")
    promote.add_argument("--reason", default="", help="why; recorded in the history")
    promote.add_argument("--history", action="store_true", help="show the changes of champion, promote nothing")
    promote.add_argument("--uri", help=_URI)
    _example(promote, "il7ml promote 3f2c9d1e...")

    compare = _command(commands, "compare", _compare, "compare trainings on the same patients, and track it")
    compare.add_argument("first", metavar="RUN", help="run id of a training")
    compare.add_argument(
        "others", metavar="RUN", nargs="+", help="run ids of others on the same data, each compared with it"
    )
    compare.add_argument("--uri", help=_URI)
    _example(compare, "il7ml compare 3f2c9d1e... 8a01b2c3...")

    rollback = _command(commands, "rollback", _rollback, "make the previous champion champion again")
    rollback.add_argument("name", nargs="?", metavar="NAME", help="registered model (default: the one predict uses)")
    rollback.add_argument("--reason", default="", help="why; recorded in the history")
    rollback.add_argument("--uri", help=_URI)
    _example(rollback, "il7ml rollback --reason 'worse in the new ward'")

    report = _command(commands, "report", _report, "write a run's report as one HTML page that needs no network")
    report.add_argument("run_id", metavar="RUN", help="run id of a training or an analysis")
    report.add_argument("--out", type=Path, required=True, metavar="FILE.html")
    report.add_argument("--uri", help=_URI)
    _example(report, "il7ml report 3f2c9d1e... --out report.html")

    store = commands.add_parser(
        "store",
        help="check, relocate or deliver the tracking store",
        description="Check, relocate or deliver the tracking store.",
        epilog="Example: il7ml store check",
    )
    actions = store.add_subparsers(metavar="ACTION", required=True)
    for name, run, text in (
        ("check", _store_check, "look whether database, files and registered models are whole"),
        ("relocate", _store_relocate, "rewrite the paths of a store that was moved or copied"),
        ("push", _store_push, "deliver runs that were completed while their server was away"),
    ):
        action = _command(actions, name, run, text)
        action.add_argument("--uri", help=_URI)
        _example(action, f"il7ml store {name}")

    serve = _command(commands, "serve", _serve, "the page and the JSON API for one patient or several")
    serve.add_argument("--host", default="127.0.0.1", help="address; any but a loopback one needs --token-file")
    serve.add_argument("--port", type=int, default=8000, help="default 8000")
    serve.add_argument(
        "--token-file", type=Path, metavar="FILE", help="file with the token that callers must send (or IL7ML_TOKEN)"
    )
    serve.add_argument(
        "--rate", type=float, default=20.0, help="requests a second that one client may make, 0: no limit (default 20)"
    )
    serve.add_argument(
        "--model", default="champion", metavar="URI", help="champion, a run id, models:/NAME@ALIAS, a folder"
    )
    serve.add_argument("--uri", help=_URI)
    _example(serve, "il7ml serve --port 8000")

    ui = _command(commands, "ui", _ui, "open the MLflow pages over the project's runs")
    ui.add_argument("--uri", help=_URI)
    ui.add_argument("--host", default="127.0.0.1")
    ui.add_argument("--port", type=int, default=5000)
    _example(ui, "il7ml ui --port 5001")

    demo = _command(commands, "demo", _demo, "train the two demonstration models, promote them, predict a patient")
    demo.add_argument("--fast", action="store_true", help="smaller resampling, same road")
    _example(demo, "il7ml demo --fast")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=f"{text[:1].upper()}{text[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _example(parser: argparse.ArgumentParser, example: str) -> None:
    parser.epilog = f"Example: {example}"


def _settings(parser: argparse.ArgumentParser, what: str = "config") -> None:
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"change a key of the {what}, for example validation.folds=10; may be repeated",
    )


def _check(arguments: argparse.Namespace) -> int:
    from il7ml.checking import check

    print(check(arguments.study))
    return 0


def _simulate(arguments: argparse.Namespace) -> int:
    from il7ml.data.simulator import write_trial

    written = write_trial(
        arguments.n,
        arguments.seed,
        arguments.scenario,
        arguments.out,
        format=arguments.format,
        truth=arguments.truth,
    )
    print(texts.SIMULATED_DATA)
    for path in written:
        print(path)
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from il7ml.config import RunConfig
    from il7ml.progress import report
    from il7ml.tracking import summary
    from il7ml.training import train

    if (arguments.config is None) == (arguments.from_run is None):
        raise InputError("train: give either CONFIG or --from-run RUN.")
    if arguments.from_run is not None:
        return _retrain(arguments)
    config = RunConfig.from_file(arguments.config, arguments.overrides)
    run = train(config, steps=report, root=arguments.config.parent)
    print(summary(run.result))
    print(f"model {run.model_name} version {run.model_version}")
    print(run.run_id)
    return 0


def _retrain(arguments: argparse.Namespace) -> int:
    from il7ml.progress import report
    from il7ml.training import retrain

    if arguments.overrides:
        raise InputError("train: --set does not go with --from-run, which repeats a training as it was.")
    again = retrain(arguments.from_run, uri=arguments.uri, steps=report, root=Path.cwd())
    for name, (before, now) in again.differing.items():
        print(f"{name}: {before:.10g} then, {now:.10g} now")
    print(f"{len(again.differing)} metrics differ." if again.differing else "All metrics are identical.")
    print(again.run.run_id)
    return 0


def _sweep(arguments: argparse.Namespace) -> int:
    from il7ml.progress import report
    from il7ml.sweeping import sweep

    found = sweep(arguments.config, overrides=arguments.overrides, steps=report)
    print(found.to_text())
    print(found.run_id)
    return 0


def _analyze(arguments: argparse.Namespace) -> int:
    from il7ml import progress
    from il7ml.analysis import analyze
    from il7ml.config import RunConfig

    config = RunConfig.from_file(arguments.config, arguments.overrides)
    result = analyze(config, out=arguments.out, steps=progress.report, root=arguments.config.parent)
    print(result.to_text())
    if arguments.out is not None:
        print(f"Tables, figures and report: {arguments.out}")
    print(result.run_id)
    return 0


def _power(arguments: argparse.Namespace) -> int:
    from il7ml import progress
    from il7ml.config import ExecutorConfig
    from il7ml.parallel import executor
    from il7ml.power import PowerCurve, SampleSize, power, sample_size

    shared = {
        "modifier": arguments.modifier,
        "covariates": tuple(arguments.covariates),
        "negative_binomial": arguments.negative_binomial,
        "scenario": arguments.scenario,
        "trials": arguments.trials,
        "alpha": arguments.alpha,
        "seed": arguments.seed,
        "workers": arguments.workers,
        "out": arguments.out,
        "steps": progress.report,
    }
    address = arguments.scheduler
    found: PowerCurve | SampleSize
    with executor(ExecutorConfig(kind="dask" if address else "local", address=address)):
        if arguments.target_power is None:
            found = power(arguments.endpoint, arguments.n, **shared)
        else:
            found = sample_size(arguments.target_power, arguments.endpoint, largest=arguments.largest, **shared)
    print(found.to_text())
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    if (arguments.table is None) != (arguments.out is None):
        raise InputError("predict: --in TABLE and --out TABLE go together.")
    given = (arguments.patient is not None) + (arguments.table is not None) + arguments.interactive
    if given > 1 or (given == 0 and not sys.stdin.isatty()):
        raise InputError("predict: give one of --patient FILE.json, --in TABLE with --out TABLE, and --interactive.")
    from il7ml.predictor import load_predictor

    predictor = load_predictor(arguments.model, uri=arguments.uri)
    if arguments.table is not None:
        whole = predictor.predict_folder if arguments.table.is_dir() else predictor.predict_file
        counts = whole(arguments.table, arguments.out)
        if predictor.simulated:
            print(predictor.notice)
        print(", ".join(f"{count} {status}" for status, count in counts.items()), "->", arguments.out)
        return 0
    if arguments.patient is not None:
        patient = _read_patient(arguments.patient)
    else:
        from il7ml.asking import ask_patient

        patient = ask_patient(predictor, sys.stdin, sys.stderr)
    prediction = predictor.predict(patient)
    if arguments.format == "json":
        print(json.dumps(prediction.to_dict(), indent=1, allow_nan=False))  # ASCII: any text, on any terminal
    else:
        print(prediction.to_text())
    return OutOfScopeError.exit_code if prediction.status == "out_of_scope" else 0


def _read_patient(source: str) -> dict[str, object]:
    from il7ml.app.records import parse_object, patient_id

    try:
        content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise InputError(f"--patient {source}: cannot be read ({error.strerror}). Check the path.") from None
    try:
        patient = parse_object(content)
        patient_id(patient)
    except InputError as error:
        raise InputError(f"--patient {source}: {error}") from None
    return patient


def _recalibrate(arguments: argparse.Namespace) -> int:
    from il7ml.recalibrating import recalibrate_model

    found = recalibrate_model(
        arguments.source,
        arguments.out,
        model=arguments.model,
        outcome=arguments.outcome,
        place=arguments.place,
        method=arguments.method,
        uri=arguments.uri,
    )
    print(found.to_text())
    print(arguments.out)
    return 0


def _promote(arguments: argparse.Namespace) -> int:
    from il7ml.tracking import promote, promotion_history

    if arguments.history:
        print(promotion_history(None, arguments.uri).to_string(index=False))
        return 0
    if arguments.model is None:
        raise InputError("promote: expected a run id or models:/NAME/VERSION, or --history. Example: il7ml promote RUN")
    model = promote(arguments.model, arguments.uri, force=arguments.force, reason=arguments.reason)
    print(f"champion: {model.name} version {model.version}")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from il7ml import progress
    from il7ml.comparing import compare_runs

    runs = (arguments.first, *arguments.others)
    found = compare_runs(*runs, uri=arguments.uri, steps=progress.report, root=Path.cwd())
    print("\n\n".join(each.to_text() for each in found))
    print("\n".join(each.run_id for each in found))
    return 0


def _rollback(arguments: argparse.Namespace) -> int:
    from il7ml.tracking import rollback

    model = rollback(arguments.name, arguments.uri, reason=arguments.reason)
    print(f"champion: {model.name} version {model.version}")
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from il7ml.data.tables import write_files
    from il7ml.tracking import report_of_run

    write_files({arguments.out: report_of_run(arguments.run_id, arguments.uri)})
    print(arguments.out)
    return 0


def _store_check(arguments: argparse.Namespace) -> int:
    from il7ml.tracking import check_store

    table = check_store(arguments.uri)
    print(table.to_string(index=False))
    return 0 if table["ok"].all() else InputError.exit_code


def _store_relocate(arguments: argparse.Namespace) -> int:
    from il7ml.tracking import relocate_store

    moved = relocate_store(arguments.uri)
    print(f"{moved.changed} paths rewritten; the database as it was: {moved.backup}")
    return 0


def _store_push(arguments: argparse.Namespace) -> int:
    from il7ml.tracking import push_runs

    delivered = push_runs(arguments.uri)
    for each in delivered:
        print(f"run {each.local_run} is now {each.server_run} at {each.server}")
    if not delivered:
        print("Nothing waits to be delivered.")
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from il7ml.app.serving import serve

    serve(
        arguments.host,
        arguments.port,
        token_file=arguments.token_file,
        rate=arguments.rate,
        model=arguments.model,
        uri=arguments.uri,
    )
    return 0


def _ui(arguments: argparse.Namespace) -> int:
    import subprocess

    from il7ml.tracking import resolve_uri, ui_command
    from il7ml.tracking.opening import open_store

    uri = resolve_uri(arguments.uri)
    open_store(uri)  # so that no killed run is shown as running
    command, environment = ui_command(uri, arguments.host, arguments.port)
    print(
        f"MLflow opens at http://{arguments.host}:{arguments.port} in its GenAI view: choose 'Model training' at the "
        "top left, then an experiment. Stop with Ctrl-C."
    )
    return subprocess.run(command, env=environment, check=False).returncode


def _demo(arguments: argparse.Namespace) -> int:
    from il7ml.demo import demo

    demo(fast=arguments.fast)
    return 0
