"""A configuration says what is meant, or the error says what is wrong with it, and where."""

import re
from pathlib import Path

import pytest

from detector.errors import ConfigError
from detector.settings.config import Config, _host_slug
from detector.settings.load import load_config
from detector.settings.models import ModelSettings
from detector.settings.patterns import (
    RHYTHMS,
    GroupSettings,
    LoudUnlabelledSettings,
    RepetitionSettings,
)
from detector.slugs import digest

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))


def load(folder: Path, text: str | bytes, name: str = "detector.toml") -> Config:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_config(path)


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    assert raised.value.exit_code == 2
    assert all(line.startswith(f"{path}: ") for line in str(raised.value).splitlines())
    return str(raised.value)


def refusal_of(folder: Path, text: str | bytes) -> str:
    path = folder / "detector.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return refusal(path)


def test_without_a_file_the_built_in_model_hears_the_default_microphone() -> None:
    config = load_config(None)
    assert config.models == {"sounds": ModelSettings(bundle="sounds")}
    assert [(s.name, s.device) for s in config.sources] == [("microphone", "default")]
    assert config.mqtt.enabled
    assert config.mqtt.address == ("localhost", 1883)
    assert re.fullmatch(r"[a-z0-9_]{1,64}", config.node)


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "") == load_config(None)


def test_there_are_configs() -> None:
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_config_is_valid(path: Path) -> None:
    assert load_config(path).sources


def test_default_config_spells_the_defaults_out() -> None:
    [path] = [path for path in CONFIGS if path.name == "default.toml"]
    assert load_config(path) == load_config(None)


def test_everything_that_is_written_counts(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        node = "attic"
        [mqtt]
        host = "broker"
        prefix = "home/sound"
        username = "me"
        password_credential = "mqtt"
        [mqtt.tls]
        [console]
        enabled = true
        [log]
        level = "debug"
        [models.fine]
        bundle = "sounds"
        hop_s = 1
        smoothing_windows = 3
        only = ["dog"]
        labels.dog.onset_threshold = 0.7
        [[sources]]
        name = "hall"
        device = "USB"
        channel = 2
        models = ["fine"]
        [[sources]]
        name = "yard"
        audio_file = "yard.wav"
        """,
    )
    assert config.node == "attic"
    assert config.mqtt.address == ("broker", 8883)
    assert config.models["fine"].hop_s == 1.0
    assert config.models["fine"].only == ("dog",)
    assert config.models["fine"].labels["dog"].onset_threshold == 0.7
    assert [source.channel for source in config.sources] == [2, "mix"]
    assert config.sources[0].models == ("fine",)


def test_patterns_are_told_apart_by_their_kind(tmp_path: Path) -> None:
    patterns = load(
        tmp_path,
        """
        [patterns.any_alarm]
        kind = "group"
        labels = ["smoke_alarm", "siren"]
        name = "Any alarm at all"
        [patterns.smoke_alarm]
        kind = "repetition"
        label = "beep"
        rhythm = "t3"
        pause_s = [1, 6]
        [patterns.dryer]
        kind = "repetition"
        label = "beep"
        count = 5
        on_s = [0.3, 0.8]
        off_s = [0.3, 0.8]
        pause_s = [1, 20]
        [patterns.loud_unlabelled]
        kind = "loud_unlabelled"
        threshold_dbfs = -25
        """,
    ).patterns
    assert list(patterns) == ["any_alarm", "smoke_alarm", "dryer", "loud_unlabelled"]
    group, smoke, dryer, loud = patterns.values()
    assert isinstance(group, GroupSettings)
    assert isinstance(smoke, RepetitionSettings)
    assert isinstance(dryer, RepetitionSettings)
    assert isinstance(loud, LoudUnlabelledSettings)
    assert (group.display_name("any_alarm"), smoke.display_name("smoke_alarm")) == (
        "Any alarm at all",
        "Smoke alarm",
    )
    assert (smoke.count, smoke.on_s, smoke.pause_s) == (3, RHYTHMS["t3"]["on_s"], (1, 6))
    assert (dryer.count, dryer.off_s) == (5, (0.3, 0.8))
    assert loud.threshold_dbfs == -25


def test_the_patterns_of_the_default_config_are_valid(tmp_path: Path) -> None:
    """They stand there as comments."""
    [path] = [path for path in CONFIGS if path.name == "default.toml"]
    _, _, examples = path.read_text().partition("# [patterns.")
    examples = "# [patterns." + examples.partition("[[sources]]")[0]
    patterns = load(tmp_path, re.sub("(?m)^# ", "", examples)).patterns
    assert list(patterns) == ["any_alarm", "t3", "dryer_done", "loud_unlabelled"]
    assert patterns["loud_unlabelled"] == LoudUnlabelledSettings(kind="loud_unlabelled")


SOURCE = '[[sources]]\nname = "hall"\ndevice = "x"\n'
PIPE = "[[sources]]\nname = 'hall'\nfifo = 'hall'\n"
SOCKET = "[[sources]]\nname = 'hall'\nsocket = '{}'\n"
MODEL = '[models.m]\nbundle = "b"\n'
GROUP = '[patterns.a]\nkind = "group"\n'
BEEPS = '[patterns.a]\nkind = "repetition"\nlabel = "beep"\n'
LOUD = '[patterns.a]\nkind = "loud_unlabelled"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        # Unknown settings, at each level.
        ("nod = 'x'", ["nod: there is no such setting; did you mean 'node'?"]),
        ("xyz = 1", ["xyz: there is no such setting; there are node, state_dir, mqtt, "]),
        ("[mqtt]\nhots = 'x'", ["mqtt.hots: ", "did you mean 'host'?"]),
        ("[mqtt.tls]\nca_fiel = 'x'", ["mqtt.tls.ca_fiel: ", "did you mean 'ca_file'?"]),
        ("[log]\nlvl = 'x'", ["log.lvl: ", "did you mean 'level'?"]),
        (MODEL + "hop = 1", ["models.m.hop: ", "did you mean 'hop_s'?"]),
        (
            MODEL + "labels.dog.onset_treshold = 0.5",
            ["models.m.labels.dog.onset_treshold: ", "did you mean 'onset_threshold'?"],
        ),
        (SOURCE + "devise = 'x'", ["sources.0.devise: ", "did you mean 'device'?"]),
        (SOURCE + SOURCE.replace("hall", "yard") + "chanel = 1", ["sources.1.chanel: "]),
        # Wrong types: nothing is converted in silence.
        ("node = 3", ["node = 3: ", "string"]),
        ("[mqtt]\nport = '1883'", ["mqtt.port = '1883': ", "integer"]),
        ("[mqtt]\nport = 1883.0", ["mqtt.port = 1883.0: ", "integer"]),
        ("[mqtt]\nenabled = 1", ["mqtt.enabled = 1: ", "boolean"]),
        ("mqtt = 'localhost'", ["mqtt = 'localhost': "]),
        ("[mqtt.tls]\nca_file = 1", ["mqtt.tls.ca_file = 1: must be text"]),
        (MODEL + "hop_s = 'short'", ["models.m.hop_s = 'short': ", "number"]),
        (MODEL + "only = 'dog'", ["models.m.only = 'dog': must be a list"]),
        (SOURCE + "channel = true", ["sources.0.channel", "True"]),
        ("[sources]\nname = 'x'", ["sources: must be a list"]),
        ("[[models]]\nbundle = 'x'", ["models: ", "dictionary"]),
        # Wrong values.
        ("node = 'my attic'", ["node = 'my attic': ", "pattern"]),
        ("node = ''", ["node = ''"]),
        ("[mqtt]\nport = 0", ["mqtt.port = 0: "]),
        ("[mqtt]\nport = 65536", ["mqtt.port = 65536: "]),
        ("[mqtt]\nhost = ''", ["mqtt.host = ''"]),
        ("[mqtt]\nprefix = 'a/+/b'", ["mqtt.prefix = 'a/+/b'"]),
        ("[mqtt]\nprefix = '/a'", ["mqtt.prefix = '/a'"]),
        ("[mqtt]\nqueue_events = 0", ["mqtt.queue_events = 0"]),
        ("[mqtt]\ntimeout_s = inf", ["mqtt.timeout_s = inf: ", "finite"]),
        ("[log]\nlevel = 'loud'", ["log.level = 'loud': ", "'debug'"]),
        ("models = {}", ["models: ", "at least 1"]),
        ('[models."My Model"]\nbundle = "b"', ["models.My Model", "pattern"]),
        ("[models.m]", ["models.m.bundle: ", "required"]),
        ("[models.m]\nbundle = ''", ["models.m.bundle = ''"]),
        (MODEL + "hop_s = 0", ["models.m.hop_s = 0: "]),
        (MODEL + "hop_s = nan", ["models.m.hop_s = nan: ", "finite"]),
        (MODEL + "hop_s = inf", ["models.m.hop_s = inf: ", "finite"]),
        (MODEL + "threads = 0", ["models.m.threads = 0"]),
        (MODEL + "provider = 'gpu'", ["models.m.provider = 'gpu': ", "'cuda'"]),
        (MODEL + "smoothing_windows = 4", ["models.m.smoothing_windows = 4: must be odd"]),
        (MODEL + "only = ['Dog']", ["models.m.only.0 = 'Dog'"]),
        (MODEL + "decided_by = 'ear'", ["models.m.decided_by = 'ear': ", "'frames'"]),
        (MODEL + "labels.dog.onset_threshold = 2", ["models.m.labels.dog.onset_threshold = 2: "]),
        (MODEL + "labels.dog.merge_gap_s = inf", ["models.m.labels.dog.merge_gap_s = inf: "]),
        ("sources = []", ["sources = []: ", "at least 1"]),
        ("[[sources]]\ndevice = 'x'", ["sources.0.name: ", "required"]),
        (SOURCE.replace("hall", "a/b"), ["sources.0.name = 'a/b'"]),
        (SOURCE + "channel = 0", ["sources.0.channel = 0: channels are counted from 1"]),
        (SOURCE + "channel = 'left'", ["sources.0.channel", "'left'"]),
        (SOURCE + "models = []", ["sources.0.models = []: ", "at least 1"]),
        ("[patterns.a]\nkind = 'grup'", ["patterns.a: ", "'grup'", "'group', 'repetition'"]),
        ("[patterns.a]\nlabels = ['b']", ["patterns.a: kind: Field required"]),
        (GROUP + "lables = ['b']", ["patterns.a.lables: ", "did you mean 'labels'?"]),
        (GROUP + "labels = []", ["patterns.a.labels = []: ", "at least 1"]),
        (GROUP.replace(".a", ".A") + "labels = ['b']", ["patterns.A", "pattern"]),
        (BEEPS + "rhythm = 't5'", ["patterns.a.rhythm = 't5': ", "'t3' or 't4'"]),
        (BEEPS, ["patterns.a.count: Field required", "patterns.a.pause_s: Field required"]),
        (BEEPS + "rhythm = 't3'\non_s = [2, 1]", ["patterns.a.on_s = [2, 1]: ", "in this order"]),
        (BEEPS + "rhythm = 't3'\non_s = 1", ["patterns.a.on_s = 1: must be a list"]),
        (BEEPS + "rhythm = 't3'\noff_s = [0, 1]", ["patterns.a.off_s.0 = 0: ", "greater than 0"]),
        (LOUD + "threshold_dbfs = 3", ["patterns.a.threshold_dbfs = 3: "]),
        (LOUD + "stretch_s = 0", ["patterns.a.stretch_s = 0: "]),
        # What does not fit together.
        (
            BEEPS + "rhythm = 't3'\npause_s = [0.1, 9]",
            ["patterns.a: pause_s begins at 0.1", "0.75 s apart (off_s)"],
        ),
        (SOURCE + SOURCE, ["sources: two sources are called 'hall'"]),
        (
            SOURCE + "audio_file = 'x'",
            ["sources.0: give one of device, url, audio_file", "not device and audio_file"],
        ),
        (PIPE + "rate = 16000", ["sources.0: bare samples need all of rate, channels and"]),
        (PIPE + "rate = 400000", ["sources.0.rate = 400000: "]),
        (PIPE + "sample_format = 'S16LE'", ["sources.0.sample_format = 'S16LE': ", "s16le"]),
        (PIPE + "permissions = '0999'", ["sources.0.permissions = '0999': "]),
        (SOURCE + "permissions = '0660'", ["sources.0: permissions is for fifo, and socket with"]),
        (
            SOCKET.format("tcp:127.0.0.1:9") + "permissions = '0660'",
            ["sources.0: permissions is for fifo, and socket with unix:"],
        ),
        (PIPE + "beyond_loopback = true", ["sources.0: beyond_loopback is for socket with tcp:"]),
        (
            SOCKET.format("unix:/run/x") + "beyond_loopback = true",
            ["sources.0: beyond_loopback is for socket with tcp:"],
        ),
        (
            PIPE + "rate = 16000\nchannels = 2\nsample_format = 's16le'\nchannel = 3",
            ["sources.0: channel = 3 is none of channels = 2"],
        ),
        (SOURCE + "rate = 16000", ["sources.0: rate is for program, socket and fifo"]),
        (SOCKET.format("/run/x"), ["sources.0: ", "a socket is unix:/path or tcp:ADDRESS:PORT"]),
        (SOCKET.format("unix:x"), ["sources.0: ", "a socket is unix:/path or tcp:ADDRESS:PORT"]),
        (SOCKET.format("unix:/" + "x" * 107), ["sources.0: ", "at most 107 bytes"]),
        (SOCKET.format("tcp:localhost:0"), ["sources.0: ", "a port is 1 to 65535, not 0"]),
        (SOCKET.format("tcp:attic:9000"), ["sources.0: ", "'attic' is no IP address"]),
        (SOCKET.format("tcp:0.0.0.0:9"), ["sources.0: ", "0.0.0.0:9' is reached from other mach"]),
        (SOCKET.format("tcp:[::]:9000"), ["sources.0: ", "set beyond_loopback = true"]),
        ("[[sources]]\nname = 'x'\nprogram = []", ["sources.0.program = []: "]),
        ("[[sources]]\nname = 'x'\nprogram = 'arecord'", ["sources.0.program = 'arec", "a list"]),
        ("[[sources]]\nname = 'x'", ["sources.0: give one of device, url, audio_file", "not none"]),
        (SOURCE + "models = ['m']", ["sources.hall.models: there is no model 'm', only sounds"]),
        (MODEL + SOURCE + "models = ['m', 'm']", ["sources.0.models = ['m', 'm']: ", "twice"]),
        (MODEL + "confirmed_by = 'm'", ["models.m.confirmed_by = 'm': ", "another model"]),
        (
            MODEL + "confirmed_by = 'x'\n[models.n]\nbundle = 'b'",
            ["models.m.confirmed_by = 'x': must be another model; there is only n"],
        ),
        (
            MODEL + "confirmed_by = 'n'\n[models.n]\nbundle = 'b'\n" + SOURCE + "models = ['m']",
            ["sources.hall.models: 'm' is confirmed by 'n', which does not listen here; add it"],
        ),
        ("[mqtt]\npassword_file = 'x'", ["mqtt: a password needs a username"]),
        ("[mqtt]\npassword_credential = 'x'", ["mqtt: a password needs a username"]),
        (
            "[mqtt]\nusername = 'me'\npassword_file = 'x'\npassword_credential = 'x'",
            ["mqtt: give password_file or password_credential, not both"],
        ),
        ("[mqtt.tls]\nkey_file = 'x'", ["mqtt.tls: certificate_file and key_file go together"]),
    ],
)
def test_mistake_is_told_with_file_field_and_value(
    tmp_path: Path, text: str, told: list[str]
) -> None:
    message = refusal_of(tmp_path, text)
    assert [part for part in told if part not in message] == [], message


def test_one_mistake_is_told_once(tmp_path: Path) -> None:
    for text in (SOURCE + "audio_file = 'x'", "[models.m]\nbundel = 'b'\nbundle = 'b'"):
        assert len(refusal_of(tmp_path, text).splitlines()) == 1


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    message = refusal_of(tmp_path, f"node = 3\n[log]\nlevel = 'x'\n{MODEL}threads = 0\n")
    fields = [line.split(": ")[1].split(" = ")[0] for line in message.splitlines()]
    assert fields == ["node", "log.level", "models.m.threads"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"node = ", "is not TOML: "),
        (b"node = 'a'\nnode = 'b'", "is not TOML: "),
        (b"a = " + b"[" * 100_000, "is not TOML: "),
        (b"node = '\xff'", "is not UTF-8: "),
        (b"\xff\xfen\x00o\x00", "is not UTF-8: "),
    ],
)
def test_what_is_not_toml_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    assert told in refusal_of(tmp_path, content)


def test_the_place_of_a_slip_is_told(tmp_path: Path) -> None:
    assert "line 3" in refusal_of(tmp_path, 'node = "a"\n[log]\nlevel = debug\n')


def test_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.toml"
    assert refusal(path) == f"{path}: cannot be read: No such file or directory"


def test_folder_is_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"


def test_a_confirming_model_must_listen_only_where_the_other_does(tmp_path: Path) -> None:
    text = MODEL + "confirmed_by = 'n'\n[models.n]\nbundle = 'b'\n" + SOURCE
    for models in ("", "models = ['n']", "models = ['n', 'm']"):
        assert load(tmp_path, text + models).models["m"].confirmed_by == "n"


def test_long_values_are_shortened(tmp_path: Path) -> None:
    message = refusal_of(tmp_path, f"node = '{'x' * 70_000}'")
    assert "node = 'xxx" in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("host", "slug"),
    [
        ("attic", "attic"),
        ("Attic-2.local", "attic_2_local"),
        ("räuber", "rauber"),
        ("日本", "node"),
        ("", "node"),
        ("x" * 99, "x" * 55 + "_" + digest("x" * 99)),
    ],
)
def test_any_host_name_makes_a_node(monkeypatch: pytest.MonkeyPatch, host: str, slug: str) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host)
    assert _host_slug() == slug
    assert Config().node == slug


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().node = "other"  # type: ignore[misc]
