"""What the service counts reaches whoever observes it, with a broker or without."""

import asyncio
from pathlib import Path

import soundfile as sf

from detector.daemon import serve
from detector.loading import load_models
from detector.publish.publisher import Publisher
from detector.settings.load import load_config
from detector.stats import Stats
from tests.bundles import tone_bundle
from tests.service import RATE, low_tone


class Observer(Publisher):
    """Holds the first stats that it is given."""

    def __init__(self) -> None:
        self.first: asyncio.Future[Stats] = asyncio.get_running_loop().create_future()

    def stats(self, stats: Stats) -> None:
        if not self.first.done():
            self.first.set_result(stats)


def test_an_observer_is_given_the_stats_without_mqtt(tmp_path: Path) -> None:
    tone_bundle(tmp_path / "tones", window_s=0.64, hop_s=0.16)
    sf.write(tmp_path / "scene.wav", low_tone(5), RATE)
    path = tmp_path / "config.toml"
    path.write_text(
        'node = "attic"\nmqtt.enabled = false\n[models.tones]\nbundle = "./tones"\n'
        '[[sources]]\nname = "hall"\naudio_file = "scene.wav"\n'
    )
    config = load_config(path)

    async def first() -> Stats:
        observer = Observer()
        serving = asyncio.create_task(serve(config, load_models(config, path), [observer]))
        try:
            return await asyncio.wait_for(observer.first, 20)
        finally:
            serving.cancel()
            await asyncio.wait({serving})

    stats = asyncio.run(first())
    assert set(stats.sources) == {"hall"}
    assert stats.delivery is None, "nothing is delivered to a broker"
