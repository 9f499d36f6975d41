"""A camera: an RTSP server of GStreamer's, for Debian's own Python (`/usr/bin/python3`).

Its microphone hears a tone burst of 20 ms at each half second of CLOCK_BOOTTIME (`--period`), so
whoever listens can tell when each sample was heard. Like a real one, it does not hear what is
played while the program is stopped. Each of the paths of `SOUNDS` has another codec, and `/live`
has the one that is asked for. It prints "ready" when it can be reached.
"""

import argparse
import array
import math
import sys
import threading
import time
from typing import Any, Final

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

RATE: Final = 48_000
BURST_S: Final = 0.02
BLOCK_NS: Final = 20_000_000
LOST_AFTER_NS: Final = 300_000_000
"""A microphone that nobody read for so long has lost what it heard."""

MICROPHONE: Final = (
    "appsrc name=microphone is-live=true format=time"
    f" caps=audio/x-raw,format=S16LE,layout=interleaved,rate={RATE},channels=1"
    " ! queue ! audioconvert ! audioresample ! "
)
LENS: Final = (
    "videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120,framerate=5/1"
    " ! jpegenc ! rtpjpegpay name=pay0 "
)
G711: Final = "audio/x-raw,rate=8000,channels=1 ! "
SOUNDS: Final = {
    "opus": f"{MICROPHONE} opusenc ! rtpopuspay name=pay0",
    "aac": f"{MICROPHONE} avenc_aac ! rtpmp4gpay name=pay0",
    "latm": f"{MICROPHONE} avenc_aac ! rtpmp4apay name=pay0",
    "alaw": f"{MICROPHONE} {G711} alawenc ! rtppcmapay name=pay0",
    "mulaw": f"{MICROPHONE} {G711} mulawenc ! rtppcmupay name=pay0",
    "stereo": f"{MICROPHONE} audio/x-raw,rate=16000,channels=2 ! rtpL16pay name=pay0",
    "video": LENS,
    "both": f"{LENS} {MICROPHONE} opusenc ! rtpopuspay name=pay1",
    "unknown": f"{MICROPHONE} {G711} alawenc ! rtppcmapay pt=97"
    " ! capssetter caps=application/x-rtp,encoding-name=MYSTERY name=pay0",
}


def heard(begin_ns: int, period_ns: int) -> bytes:
    """What the microphone hears in the block that begins at a time of CLOCK_BOOTTIME."""
    samples = array.array("h", bytes(2 * (RATE * BLOCK_NS // 1_000_000_000)))
    for i in range(len(samples)):
        since_s = ((begin_ns + i * 1_000_000_000 // RATE) % period_ns) / 1e9
        if since_s < BURST_S:
            samples[i] = round(16_000 * math.sin(2 * math.pi * 1000 * since_s))
    return samples.tobytes()


def listen(microphone: Any, period_ns: int) -> None:
    """Give out blocks as they are heard, until nobody wants them any more."""
    first_ns = begin_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // BLOCK_NS * BLOCK_NS
    taken = False
    while True:
        late_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - begin_ns - BLOCK_NS
        if late_ns > LOST_AFTER_NS:
            begin_ns += late_ns // BLOCK_NS * BLOCK_NS
        elif late_ns < 0:
            time.sleep(-late_ns / 1e9)
        block = Gst.Buffer.new_wrapped(heard(begin_ns, period_ns))
        block.pts, block.duration = begin_ns - first_ns, BLOCK_NS
        answer = microphone.emit("push-buffer", block)
        if taken and answer != Gst.FlowReturn.OK:
            return
        taken = taken or answer == Gst.FlowReturn.OK
        begin_ns += BLOCK_NS


def configure(_: Any, media: Any, period_ns: int) -> None:
    microphone = media.get_element().get_by_name("microphone")
    if microphone is not None:
        threading.Thread(target=listen, args=[microphone, period_ns], daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port")
    parser.add_argument("live", choices=SOUNDS)
    parser.add_argument("--period", type=float, default=0.5, help="seconds between two bursts")
    parser.add_argument("--login", help="user:password that it asks for (digest)")
    parser.add_argument("--certificate", help="a PEM file with certificate and key")
    arguments = parser.parse_args()

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(arguments.port)
    anybody = GstRtspServer.RTSPToken()
    anybody.set_string("media.factory.role", "anybody")
    for path, launch in (*SOUNDS.items(), ("live", SOUNDS[arguments.live])):
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(f"( {launch} )")
        factory.set_shared(True)
        factory.connect("media-configure", configure, round(arguments.period * 1e9))
        may = "anybody,media.factory.access=true,media.factory.construct=true"
        factory.add_role_from_structure(Gst.Structure.from_string(may)[0])
        server.get_mount_points().add_factory(f"/{path}", factory)
    if arguments.login or arguments.certificate:
        auth = GstRtspServer.RTSPAuth()
        if arguments.login:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(*arguments.login.split(":", 1), anybody)
        else:
            auth.set_default_token(anybody)
        if arguments.certificate:
            auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(arguments.certificate))
        server.set_auth(auth)
    server.attach(None)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
