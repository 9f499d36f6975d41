"""A stream is opened and read, in a thread of its own: what hangs in there hangs alone."""

import contextlib
import queue
import socket
import threading
import time
from typing import Final, NamedTuple

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard

from detector.boottime import boottime
from detector.capture.stream.errors import StreamError, check_tls, explain
from detector.capture.stream.request import StreamRequest
from detector.errors import DetectorError

ANALYSE_S: Final = 0.5
"""How long FFmpeg looks at a stream to learn what it is made of, beyond what is announced."""
ANALYSE_MIXED_S: Final = 1.0
"""The same, where sound and pictures come interleaved."""
REFUSED_S: Final = 0.5
"""What a camera needs to end a session that it has refused."""
QUEUE_PACKETS: Final = 4000
QUEUE_BYTES: Final = 8 << 20
"""What waits here at most: more than a minute of sound, so it is not sound as it happens."""
LONGEST_RECORDING_S: Final = 6 * 3600
"""Streams that never end announce longer ones than this, if any."""


class Arrival(NamedTuple):
    """A packet, and when it came, on the boottime clock."""

    packet: "Packet[AudioStream]"
    at_s: float


class StreamInput:
    """Reads a stream until it ends."""

    def __init__(self, request: StreamRequest) -> None:
        self._request = request
        self._queue: queue.SimpleQueue[Arrival | DetectorError] = queue.SimpleQueue()
        self._bytes_in, self._bytes_out = 0, 0
        self._flood: StreamError | None = None
        threading.Thread(target=self._run, name="input", daemon=True).start()

    def get(self, timeout_s: float) -> Arrival:
        """The next packet of the audio stream.

        Raises:
            queue.Empty: nothing came for `timeout_s` seconds.
            DetectorError: the stream cannot be opened, or has ended.
        """
        if self._flood is not None:
            raise self._flood
        item = self._queue.get(timeout=timeout_s)
        if isinstance(item, DetectorError):
            raise item
        self._bytes_out += item.packet.size
        return item

    def _run(self) -> None:
        try:
            self._resolve()
            with self._open() as container:
                self._read(container)
            self._queue.put(StreamError(f"{self._request.place}: the stream has ended"))
        except DetectorError as error:
            self._queue.put(error)
        except Exception as error:  # noqa: BLE001 (its text may hold the URL: it goes no further)
            self._queue.put(explain(error, self._request))

    def _resolve(self) -> None:
        """Look the host up: FFmpeg calls what fails here an input/output error.

        Raises:
            StreamError: there is no such host.
        """
        try:
            socket.getaddrinfo(self._request.host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise StreamError(
                f"{self._request.place}: there is no host of that name "
                f"({error.strerror}): check the name, and this machine's DNS"
            ) from None

    def _open(self) -> InputContainer:
        try:
            return self._attempt(only_audio=True)
        except av.error.HTTPOtherClientError:
            # As a camera without sound answers who wants nothing else: look at all that it has.
            time.sleep(REFUSED_S)
            with (
                contextlib.suppress(av.error.FFmpegError),
                self._attempt(only_audio=False) as container,
            ):
                self._require_audio(container)
            raise
        except av.error.OSError:
            check_tls(self._request)
            raise

    def _attempt(self, *, only_audio: bool) -> InputContainer:
        request, options = self._request, dict[str, str]()
        if request.scheme in ("rtsp", "rtsps"):
            options["rtsp_transport"] = request.transport
            if only_audio:
                options["allowed_media_types"] = "audio"
            analyse_s = ANALYSE_S
        else:
            options["live_start_index"] = "-1"  # HLS: the newest segment
            options["headers"] = "".join(f"{n}: {v}\r\n" for n, v in request.headers.items())
            analyse_s = ANALYSE_MIXED_S
        options["analyzeduration"] = str(round(analyse_s * 1e6))
        options["tls_verify"] = str(int(request.verify_tls))
        if request.ca_file:
            options["ca_file"] = request.ca_file
        return av.open(
            request.url_with_login(),
            mode="r",
            options={name: value for name, value in options.items() if value},
            timeout=(request.timeout_s, None),
        )

    def _read(self, container: InputContainer) -> None:
        self._require_audio(container)
        self._require_live(container)
        streams = container.streams.audio
        if len(streams) < self._request.audio_stream:
            raise StreamError(
                f"{self._request.place} has {len(streams)} audio streams, so there is no "
                f"audio_stream = {self._request.audio_stream}"
            )
        wanted = streams[self._request.audio_stream - 1]
        for stream in container.streams:
            if stream is not wanted:
                stream.discard = Discard.all
        if wanted.codec_context is None:
            raise StreamError(
                f"{self._request.place} sends its sound in a form that FFmpeg does not know: "
                "choose AAC, G.711 or Opus in its settings"
            )
        for packet in container.demux(wanted):
            if packet.size:
                self._bytes_in += packet.size
                self._queue.put(Arrival(packet, boottime()))
                self._require_room()

    def _require_room(self) -> None:
        waiting = self._bytes_in - self._bytes_out
        if self._queue.qsize() > QUEUE_PACKETS or waiting > QUEUE_BYTES:
            self._flood = StreamError(
                f"{self._request.place} sends more than a minute of sound at once, as a recording "
                "does and no live stream: download it, and give it as audio_file"
            )
            raise self._flood

    def _require_audio(self, container: InputContainer) -> None:
        if not container.streams.audio:
            kinds = sorted({stream.type for stream in container.streams})
            raise StreamError(
                f"{self._request.place} sends no sound{', only ' * bool(kinds)}"
                f"{' and '.join(kinds)}: switch the microphone on in the camera's settings, or "
                "take another of its streams"
            )

    def _require_live(self, container: InputContainer) -> None:
        if self._request.scheme not in ("http", "https") or not container.duration:
            return
        seconds = container.duration / av.time_base
        if seconds < LONGEST_RECORDING_S:
            raise StreamError(
                f"{self._request.place} is a recording of {seconds:.0f} s and no live stream: "
                "download it, and give it as audio_file"
            )
