"""What a reload promises: inputs come, go and change without loss or doubles."""

import asyncio
import signal

CONFIG = """
namespace = "test"
host = "host-1"
state_dir = "{state}"
[nats]
servers = ["{url}"]
[delivery]
linger_ms = 5
rescan_ms = 100
{inputs}
"""
INPUT = """
[[inputs]]
paths = ["{path}"]
dataset = "{dataset}"
parser = "{parser}"
"""


def test_sighup_adds_changes_and_removes_inputs(lab, run):
    """Files go on at their very byte as their inputs now say; those of removed inputs are left alone."""
    file = lab.folder / "tailer.toml"
    other = lab.folder / "other.log"

    def configure(*inputs: str) -> None:
        file.write_text(CONFIG.format(state=lab.state_dir, url=lab.url, inputs="".join(inputs)))

    def entry(path, parser="plain") -> str:
        return INPUT.format(path=path, dataset=lab.dataset, parser=parser)

    async def work() -> None:
        configure(entry(lab.log))
        lab.append('{"message":"one"}\n')
        lab.append("other one\n", other)
        process = lab.spawn("run", "--config", str(file))
        try:
            await lab.messages(1)
            configure(entry(lab.log, "json"), entry(other))
            process.send_signal(signal.SIGHUP)
            lab.append('{"message":"two"}\n')
            assert sorted(await lab.messages(3)) == ["other one", "two", '{"message":"one"}']
            configure("nonsense = 1\n")
            process.send_signal(signal.SIGHUP)
            lab.append('{"message":"three"}\n')
            await lab.messages(4)
            configure(entry(lab.log, "json"))
            process.send_signal(signal.SIGHUP)
            lab.append('{"message":"four"}\n')
            await lab.messages(5)
            lab.append("nobody reads this\n", other)
            await asyncio.sleep(0.5)
            assert await lab.count() == 5
        finally:
            process.send_signal(signal.SIGTERM)
            _, err = await asyncio.to_thread(process.communicate, timeout=20)
        assert process.returncode == 0, err
        assert "configuration.refused" in err

    run(work())
