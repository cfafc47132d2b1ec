"""Pictures to parts: the one interface to all providers, chosen by settings, loaded when first needed.

A provider that is not available is named once and its part stays out; the others work on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dpe_mner.errors import InputError
from dpe_mner.pictures.backbone import Backbone
from dpe_mner.pictures.captioner import Captioner
from dpe_mner.pictures.detectors import Detector, GroundingDetector, load_detector
from dpe_mner.pictures.kinds import KINDS, REPRESENTATION, Detection, Half, Kind, Objects, PictureParts, Regions, crop
from dpe_mner.pictures.model_names import with_models
from dpe_mner.pictures.ocr import TextReader
from dpe_mner.pictures.opening import Picture
from dpe_mner.pictures.phrases import Cue, located_phrases
from dpe_mner.pictures.signature import bare_signature, signature_key
from dpe_mner.pictures.weights import ProviderError
from dpe_mner.settings import GridSettings, PictureSettings, RegionSettings

if TYPE_CHECKING:
    from PIL.Image import Image

_CAPTION_BATCH = 8


class PictureReader:
    """Makes the parts of pictures.

    Args:
        settings: Which parts, by which models.
        device: Where the models compute.
        models: Where models lie on this machine, by kind: ``{"grid": "folder", "tags": "file.onnx"}``; the settings'
            own names when not given. Regions take ``regions`` for their detector or grounding model.

    Raises:
        InputError: If ``models`` names no kind.
    """

    def __init__(
        self, settings: PictureSettings, *, device: str = "cpu", models: Mapping[str, str] | None = None
    ) -> None:
        self.settings = with_models(settings, models or {})
        self.device = device
        self._loaded: dict[tuple[str, str], Any] = {}
        self._problems: dict[Kind, str | None] = {}
        self._notes: dict[Kind, str] = {}

    @property
    def kinds(self) -> list[Kind]:
        """Parts the settings ask for."""
        return [kind for kind in KINDS if getattr(self.settings, kind) is not None]

    def problem(self, kind: Kind) -> str | None:
        """Why a part cannot be made here, or None. Loads the part's models."""
        if kind not in self._problems:
            try:
                self._problems[kind] = None
                self._compare(kind, self._made_by(kind))
                section = self._imaged(kind)
                if section is not None and (section.stages or getattr(section, "aligned", False)):
                    self.channels(kind)  # what the backbone cannot give is told now, not at the first picture
            except ProviderError as error:
                self._problems[kind] = f"{REPRESENTATION[kind]} ({kind}) is left out: {error}"
        return self._problems[kind]

    def note(self, kind: Kind) -> str | None:
        """That a part is made with other weights than the settings remember, or None."""
        return self._notes.get(kind)

    def _compare(self, kind: Kind, found: str) -> None:
        remembered = getattr(self.settings, kind).fingerprint
        if remembered is not None and remembered != found:
            self._notes[kind] = (
                f"{REPRESENTATION[kind]} ({kind}) is made with other weights ({found}) than in training ({remembered})"
            )

    def signature(self, kind: Kind) -> dict[str, Any]:
        """What a part depends on besides the picture: settings and weights.

        Raises:
            ProviderError: If the weights are not available.
        """
        return bare_signature(self.settings, kind) | {"weights": self.fingerprint(kind)}

    def fingerprint(self, kind: Kind) -> str:
        """Of all weights a part is made with: as the settings remember it, else read off the weights.

        Raises:
            ProviderError: If it is not remembered and the weights are not available.
        """
        remembered: str | None = getattr(self.settings, kind).fingerprint
        return remembered or self._made_by(kind)

    def _made_by(self, kind: Kind) -> str:
        return "+".join(str(load().fingerprint) for load in self._needs(kind))

    def with_fingerprints(self) -> PictureSettings:
        """The settings, remembering the weights; what training saves with the checkpoint.

        Raises:
            InputError: If a part's weights are not available.
        """
        values = self.settings.model_dump()
        for kind in self.kinds:
            try:
                values[kind]["fingerprint"] = self.fingerprint(kind)
            except ProviderError as error:
                raise InputError(str(error)) from None
        return PictureSettings.model_validate(values)

    def key(self, kind: Kind) -> str:
        """The signature as a short hash: a changed setting or other weights give another key."""
        return signature_key(self.signature(kind))

    def channels(self, kind: Kind) -> int | None:
        """Channels of the features of ``grid`` or ``regions``; None for the others.

        Raises:
            ProviderError: If the backbone is not available, or cannot give what the settings ask for.
        """
        section = self._imaged(kind)
        if section is None:
            return None
        if section.stages:
            return sum(self.stage_channels(kind))
        backbone = self._backbone_of(kind)
        return backbone.aligned_channels if getattr(section, "aligned", False) else backbone.channels

    def stage_channels(self, kind: Kind) -> tuple[int, ...]:
        """Channels of each stage within the features of ``grid`` or ``regions``, finest first.

        Empty where the settings do not ask for stages.

        Raises:
            ProviderError: If the backbone is not available, or has no stages.
        """
        section = self._imaged(kind)
        return self._backbone_of(kind).stage_channels if section is not None and section.stages else ()

    def _imaged(self, kind: Kind) -> GridSettings | RegionSettings | None:
        """The settings of a part that is made of image features."""
        return self.settings.grid if kind == "grid" else self.settings.regions if kind == "regions" else None

    def _backbone_of(self, kind: Kind) -> Backbone:
        grid = self.settings.grid
        return self._backbone(grid.model if kind == "grid" and grid is not None else self._region_backbone)

    def encode_words(self, words: Sequence[str]) -> Half:
        """Words by the text tower of the grid's backbone, to compare with an ``aligned`` grid.

        Returns:
            *Shape:* (words, projection dim)

        Raises:
            ProviderError: If there is no grid, or its backbone is not available or has no text tower.
        """
        if self.settings.grid is None:
            raise ProviderError("words are encoded by the grid's backbone; set pictures.grid")
        return self._backbone_of("grid").encode_words(words)

    def query(self, text: str | None) -> list[str]:
        """What regions depend on besides picture and settings: the post's noun phrases when they are grounded."""
        return [cue.text for cue in self.cues(text) if cue.span is not None]

    def cues(self, text: str | None) -> list[Cue]:
        """What grounding looks for in a post's picture: its noun phrases, then the general words; else nothing."""
        section = self.settings.regions
        if section is None or section.grounding is None:
            return []
        phrases = located_phrases(text) if text else []
        return [*phrases, *(Cue(word) for word in section.unsaid([cue.text for cue in phrases]))]

    def __call__(
        self,
        pictures: Sequence[Picture],
        *,
        kinds: Sequence[Kind] | None = None,
        queries: Sequence[Sequence[str]] | None = None,
        crops: Sequence[Sequence[Image]] | None = None,
    ) -> list[PictureParts]:
        """Make parts.

        Args:
            pictures: n of them.
            kinds: Which parts; all that the settings ask for when not given.
            queries: Noun phrases of each picture's post.
            crops: Ready-made crops of each picture.

        Returns:
            The parts of each, with a warning for each part that cannot be made.
        """
        wanted = [kind for kind in self.kinds if kinds is None or kind in kinds]
        usable = [kind for kind in wanted if self.problem(kind) is None]
        warnings = tuple(line for kind in wanted if (line := self.problem(kind) or self.note(kind)) is not None)
        images = [picture.image for picture in pictures]
        settings = self.settings
        grids: Sequence[Half | None] = [None] * len(images)
        if "grid" in usable and settings.grid is not None:
            grids = self._blocks(settings.grid.model, images, settings.grid)
        captions: list[str | None] = [None] * len(images)
        if "caption" in usable:
            captions = [
                c
                for k in range(0, len(images), _CAPTION_BATCH)
                for c in self._captioner()(images[k : k + _CAPTION_BATCH])
            ]
        found = self._detect(images, usable)
        tags = [self._tags(found, k) if "tags" in usable else None for k in range(len(images))]
        regions: list[Regions | None] = [None] * len(images)
        if "regions" in usable:
            regions = [
                self._regions(image, found, k, queries[k] if queries else (), crops[k] if crops else ())
                for k, image in enumerate(images)
            ]
        texts = [self._text_reader()(image) if "ocr" in usable else None for image in images]
        objects = [self._objects(found, k, p) if "objects" in usable else None for k, p in enumerate(pictures)]
        return [
            PictureParts(grid, caption, region, tag, text, warnings, counted)
            for grid, caption, region, tag, text, counted in zip(
                grids, captions, regions, tags, texts, objects, strict=True
            )
        ]

    def _detect(self, images: Sequence[Image], usable: Sequence[Kind]) -> dict[str, list[list[Detection]]]:
        """Detections by model: a detector that serves tags, regions and counts runs once."""
        least: dict[str, float] = {}
        for section in self._detectors(usable):
            least[section.model] = min(section.threshold, least.get(section.model, 1.0))
        return {name: self._detector(name)(images, threshold=threshold) for name, threshold in least.items()}

    def _detectors(self, usable: Sequence[Kind]) -> list[Any]:
        sections: list[Any] = [self.settings.tags if "tags" in usable else None]
        if "regions" in usable and self.settings.regions is not None:
            sections.append(self.settings.regions.detector)
        if "objects" in usable:
            sections.append(self.settings.objects)
        return [section for section in sections if section is not None]

    def _tags(self, found: Mapping[str, list[list[Detection]]], k: int) -> list[Detection]:
        """The best objects of different names."""
        section = self.settings.tags
        assert section is not None
        best: dict[str, Detection] = {}
        for detection in found[section.model][k]:
            if detection.score >= section.threshold:
                best.setdefault(detection.label, detection)
        return list(best.values())[: section.count]

    def _objects(self, found: Mapping[str, list[list[Detection]]], k: int, picture: Picture) -> Objects:
        section = self.settings.objects
        assert section is not None
        count = sum(detection.score >= section.threshold for detection in found[section.model][k])
        return Objects(count, *picture.original_size)

    def _regions(
        self,
        image: Image,
        found: Mapping[str, list[list[Detection]]],
        k: int,
        query: Sequence[str],
        crops: Sequence[Image],
    ) -> Regions:
        section = self.settings.regions
        assert section is not None
        places: list[Detection] = []
        if section.detector is not None:
            limit = section.detector.threshold
            places = [d for d in found[section.detector.model][k] if d.score >= limit][: section.count]
        elif section.grounding is not None:
            cues = [*query, *section.unsaid(query)]
            places = self._grounding()(image, cues)[: min(section.count, section.grounding.count)]
        else:
            crops = list(crops)[: section.count]
            places = [Detection("", 1.0, (0.0, 0.0, 1.0, 1.0)) for _ in crops]
        parts = list(crops) if section.crops else [crop(image, place.box) for place in places]
        maps = self._blocks(self._region_backbone, parts, section)
        features = np.stack(maps) if maps else np.zeros((0, 1, self.channels("regions") or 0), dtype=np.float16)
        return Regions(features, [p.box for p in places], [p.label for p in places])

    def _blocks(self, name: str, images: Sequence[Image], section: GridSettings | RegionSettings) -> list[Half]:
        """Features of pictures or crops, as a section wants them."""
        backbone = self._backbone(name)
        make = (
            backbone.stages
            if section.stages
            else backbone.aligned
            if getattr(section, "aligned", False)
            else backbone.maps
        )
        return make(images, pool=section.pool)

    @property
    def _region_backbone(self) -> str:
        regions, grid = self.settings.regions, self.settings.grid
        own = regions.backbone if regions is not None else None
        return own or (grid.model if grid is not None else "")

    def _needs(self, kind: Kind) -> list[Callable[[], Any]]:
        settings = self.settings
        if kind == "grid":
            assert settings.grid is not None
            name = settings.grid.model
            return [lambda: self._backbone(name)]
        if kind == "caption":
            return [self._captioner]
        if kind == "ocr":
            return [self._text_reader]
        if kind in {"tags", "objects"}:
            model = getattr(settings, kind).model
            return [lambda: self._detector(model)]
        assert settings.regions is not None
        needs: list[Callable[[], Any]] = [lambda: self._backbone(self._region_backbone)]
        if settings.regions.detector is not None:
            detector = settings.regions.detector.model
            needs.append(lambda: self._detector(detector))
        if settings.regions.grounding is not None:
            needs.append(self._grounding)
        return needs

    def _once(self, what: str, name: str, make: Callable[[], Any]) -> Any:
        if (what, name) not in self._loaded:
            self._loaded[what, name] = make()
        return self._loaded[what, name]

    def _backbone(self, name: str) -> Backbone:
        return self._once("backbone", name, lambda: Backbone(name, device=self.device))

    def _captioner(self) -> Captioner:
        section = self.settings.caption
        assert section is not None
        return self._once("captioner", section.model, lambda: Captioner(section, device=self.device))

    def _detector(self, name: str) -> Detector:
        sections = {s.model: s for s in self._detectors(KINDS)}
        make = lambda: load_detector(sections[name], device=self.device)  # noqa: E731
        return self._once("detector", name, make)

    def _grounding(self) -> GroundingDetector:
        section = self.settings.regions.grounding if self.settings.regions is not None else None
        assert section is not None
        return self._once("grounding", section.model, lambda: GroundingDetector(section, device=self.device))

    def _text_reader(self) -> TextReader:
        section = self.settings.ocr
        assert section is not None
        return self._once("ocr", "rapidocr", lambda: TextReader(section))
