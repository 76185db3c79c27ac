"""What an AI was asked and what it answered, kept for ever, so that the same question gives the same answer.

One JSON line per question. The key is a hash over source, model and the question's own words; a model that is replaced by
another is asked anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from toolkit.clock import now
from toolkit.errors import NotFound, RequestError, must_be
from toolkit.live.outside.ai import AiSignal, read_signal

Ask = Callable[["AiQuestion"], "AiSignal | Mapping[str, Any] | None"]


@dataclass(frozen=True, slots=True)
class AiQuestion:
    """What an AI is told at the close of a bar, before it answers.

    Attributes
    ----------
    bar_time, acts_at
        Open of the closed bar; open of the next one, at whose quote an answer is carried out.
    bar
        Bid prices of the closed bar by name, as text.
    values
        The rule's named values at that bar; what is not known yet is None.
    """

    symbol: str
    timeframe: str
    bar_time: datetime
    acts_at: datetime
    bar: Mapping[str, str]
    values: Mapping[str, Any]

    def words(self) -> dict[str, Any]:
        """Return the question as JSON data; floats by their shortest exact form."""
        return {
            "symbol": self.symbol,
            "timeframe": self.timeframe,
            "bar_time": self.bar_time.isoformat(),
            "acts_at": self.acts_at.isoformat(),
            "bar": dict(self.bar),
            "values": {name: repr(v) if isinstance(v, float) else v for name, v in self.values.items()},
        }


@dataclass(frozen=True, slots=True)
class AiAnswer:
    """An answer as it is kept: a signal, or None for no trade, and whether the model was asked for it now."""

    key: str
    signal: AiSignal | None
    asked: bool


class AiCache:
    """Answers of one source and model in one file.

    Parameters
    ----------
    path
        A JSON lines file; made when it is not there. A line that a kill cut off is ignored and asked again.
    source, model
        Who is asked.
    """

    def __init__(self, path: str | Path, source: str, model: str = "") -> None:
        self.path = Path(path)
        self.source = source
        self.model = model
        self._answers: dict[str, Any] = {}
        self._cut = False
        if self.path.exists():
            self._read()

    def __len__(self) -> int:
        return len(self._answers)

    def key(self, question: AiQuestion) -> str:
        """Return the key of a question to this source and model."""
        words = json.dumps([1, self.source, self.model, question.words()], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(words.encode()).hexdigest()

    def answer(self, question: AiQuestion, ask: Ask | None, defaults: Mapping[str, Any]) -> AiAnswer:
        """Return the kept answer, or ask and keep it before it is used.

        Parameters
        ----------
        ask
            The model; None: only what is kept counts.
        defaults
            Fields of the signal that an answer may leave out.

        Raises
        ------
        NotFound
            When the answer is not kept and there is nobody to ask.
        RequestError
            When the answer is no signal; it is not kept.
        """
        key = self.key(question)
        if key in self._answers:
            kept = self._answers[key]
            return AiAnswer(key, None if kept is None else read_signal(kept), asked=False)
        if ask is None:
            raise NotFound(
                must_be(
                    f"answer of {self.source} to the bar of {question.bar_time.isoformat()}",
                    f"kept in {self.path.name}",
                    "missing",
                    "pass ask= to have it asked once",
                )
            )
        said = ask(question)
        signal = None if said is None else self._signal(said, key, question, defaults)
        self._keep(key, question, signal)
        return AiAnswer(key, signal, asked=True)

    def _signal(
        self, said: AiSignal | Mapping[str, Any], key: str, question: AiQuestion, defaults: Mapping[str, Any]
    ) -> AiSignal:
        if isinstance(said, AiSignal):
            signal = said
        else:
            own = {"source": self.source, "signal_id": key[:24], "symbol": question.symbol, "model": self.model}
            signal = read_signal({**own, **defaults, **said})
        if signal.symbol != question.symbol:
            raise RequestError(must_be("symbol of the answer", question.symbol, signal.symbol, "answer what was asked"))
        return signal

    def _keep(self, key: str, question: AiQuestion, signal: AiSignal | None) -> None:
        answer = None if signal is None else json.loads(signal.model_dump_json())
        line = {"key": key, "question": question.words(), "answer": answer, "asked_at": now().isoformat()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            if self._cut:
                stream.write("\n")
                self._cut = False
            stream.write(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._answers[key] = answer

    def _read(self) -> None:
        text = self.path.read_text(encoding="utf-8")
        self._cut = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            try:
                kept = json.loads(line)
                self._answers[kept["key"]] = kept["answer"]
            except (ValueError, KeyError, TypeError):
                continue  # cut off by a kill: the question is asked again
