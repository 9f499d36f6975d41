"""The commands, their arguments and exit codes. What they do stands in `commands/`."""

import contextlib
import os
import signal
import sys
import threading
import traceback
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal, NoReturn

import typer

from detector import __version__
from detector.errors import DetectorError

app = typer.Typer(
    name="detector",
    help="Listens to microphones and says over MQTT what it hears and exactly when.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="A TOML file; the defaults if absent."),
]


# Commands import what they need when they are called: `--help` should not load a model runtime.


@app.command()
def run(config: ConfigFile = None) -> None:
    """Run the service: listen to every source and publish what is heard."""
    from detector.commands.run import run_daemon

    run_daemon(config)


@app.command()
def listen(
    device: Annotated[
        str, typer.Option("--device", "-d", help="As `detector devices` names it, or a part of it.")
    ] = "default",
    config: ConfigFile = None,
) -> None:
    """Show what a microphone hears in the terminal: level, top labels, events. Needs no broker."""
    from detector.commands.listen import listen_to

    listen_to(device, config)


@app.command()
def replay(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE…", help="Recordings; - is raw PCM on stdin.")
    ],
    config: ConfigFile = None,
    *,
    speed: Annotated[
        Literal["max", "1"], typer.Option(help="As fast as possible, or as it was recorded.")
    ] = "max",
    as_json: Annotated[
        bool, typer.Option("--json", help="Events as JSON lines, as MQTT subscribers get them.")
    ] = False,
    start: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ"],
            metavar="TIME",
            help="When each recording began, in UTC; 1970-01-01T00:00:00Z if absent.",
        ),
    ] = None,
    rate: Annotated[int, typer.Option(help="Hertz, of PCM on stdin (signed 16 bit).")] = 16_000,
    channels: Annotated[int, typer.Option(help="Of PCM on stdin.")] = 1,
) -> None:
    """Print the events of recordings: the same ones that the service would have published."""
    from detector.commands.replay import replay_files

    replay_files(
        files,
        config,
        real_time=speed == "1",
        as_json=as_json,
        start=start,
        rate=rate,
        channels=channels,
    )


@app.command()
def devices(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As a JSON list.")] = False,
) -> None:
    """List the sound devices, with names that stay the same over replugging and reboots."""
    from detector.commands.devices import print_devices

    print_devices(as_json=as_json)


@app.command()
def check(config: ConfigFile = None) -> None:
    """Check configuration, bundles, devices and broker: each line ok, or what is wrong."""
    from detector.commands.check import check_all

    check_all(config)


AudioFolder = Annotated[
    Path, typer.Argument(metavar="AUDIO_DIR", help="A folder of recordings, and folders in it.")
]
ReferenceFile = Annotated[
    Path,
    typer.Argument(
        metavar="REFERENCE.csv", help="What sounds when: filename,onset,offset,event_label."
    ),
]


@app.command()
def evaluate(
    folder: AudioFolder,
    reference: ReferenceFile,
    config: ConfigFile = None,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Every figure of every label, as JSON.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw one recording: scores, events and truth."),
    ] = None,
    plot_file: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which one, as in the reference; the first if absent."),
    ] = None,
) -> None:
    """Measure how well the models hear: F1, PSDS, false alarms an hour, latency."""
    from detector.commands.evaluate import evaluate as evaluate_

    evaluate_(folder, reference, config, in_json=as_json, plot=plot, plot_file=plot_file)


@app.command()
def tune(
    folder: AudioFolder,
    reference: ReferenceFile,
    config: ConfigFile = None,
    *,
    false_alarms_per_hour: Annotated[
        float, typer.Option(min=0, metavar="X", help="Of each label, on these recordings.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write to; stdout if absent.")
    ] = None,
) -> None:
    """Choose thresholds for a wanted rate of false alarms; write them as tables of the config."""
    from detector.commands.tune import tune_thresholds

    tune_thresholds(folder, reference, config, false_alarms_per_hour=false_alarms_per_hour, out=out)


@app.command()
def watch(
    config: ConfigFile = None,
    node: Annotated[str | None, typer.Option(help="Only this one; all if absent.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Events and gaps as JSON lines.")] = False,
) -> None:
    """Print what detectors publish, as it arrives from the configuration's broker."""
    from detector.commands.watch import watch_events

    watch_events(config, node, as_json=as_json)


@app.command()
def explain(
    at: Annotated[
        str, typer.Option(help="Local time, as 03:12 or 03:12:30, or RFC 3339.", metavar="TIME")
    ],
    source: Annotated[
        str | None, typer.Option(help="Which one, if the service has several.")
    ] = None,
    config: ConfigFile = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As the service answers.")] = False,
) -> None:
    """Ask the running service why there was an event at a time of the last ten minutes, or none."""
    from detector.commands.explain import explain_time

    explain_time(config, source, at, as_json=as_json)


def _version(value: bool) -> None:  # noqa: FBT001 (typer's callback)
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print and exit.")
    ] = False,
) -> None:
    pass


def _fail(name: str, error: DetectorError) -> NoReturn:
    sys.stderr.write(f"{name}: {error}\n")
    sys.exit(error.exit_code)


def _first(group: ExceptionGroup[DetectorError]) -> DetectorError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, ExceptionGroup) else inner


def _insist() -> None:
    """Have a request to end heeded though it comes at a bad moment.

    Python swallows what is raised in a callback, as importing modules has many: then it is raised
    again a moment later.
    """

    def swallowed(unraisable: "sys.UnraisableHookArgs") -> None:
        if not issubclass(unraisable.exc_type, (KeyboardInterrupt, SystemExit)):
            sys.__unraisablehook__(unraisable)
            return
        request = unraisable.exc_value or unraisable.exc_type()

        def again(_number: int, _frame: FrameType | None) -> None:
            raise request

        signal.signal(signal.SIGALRM, again)
        signal.setitimer(signal.ITIMER_REAL, 0.01)

    sys.unraisablehook = swallowed


def run_app(commands: typer.Typer, name: str) -> NoReturn:
    """Run a command; turn its errors into a message and an exit code."""
    _insist()
    try:
        _run(commands, name)
    except SystemExit as exit_:
        _leave_if_stuck(exit_)
        raise
    except Exception as mistake:
        _leave_if_stuck(SystemExit(1), mistake)
        raise
    _leave_if_stuck(SystemExit(0))
    sys.exit(0)


def _leave_if_stuck(exit_: SystemExit, mistake: Exception | None = None) -> None:
    """End at once if a thread is left that nothing can end, as one in a library that hangs.

    Python would tear down what such a thread uses, and the process would abort: with another exit
    code than it should have.
    """
    left = [t for t in threading.enumerate() if t.daemon and t is not threading.current_thread()]
    if left:
        if mistake:
            traceback.print_exception(mistake)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(exit_.code if isinstance(exit_.code, int) else bool(exit_.code))


def _run(commands: typer.Typer, name: str) -> None:
    try:
        commands()
    except DetectorError as error:
        _fail(name, error)
    except ExceptionGroup as group:  # from tasks of the daemon
        expected, rest = group.split(DetectorError)
        if rest or expected is None:
            raise
        _fail(name, _first(expected))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output has gone
        sys.stderr.close()
        sys.exit(0)


def main() -> None:
    run_app(app, "detector")
