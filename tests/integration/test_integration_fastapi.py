"""Endpoints of a real FastAPI application, patched: requests, validation and responses stay what they were."""

import asyncio
import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import httpx
import pytest

from retention_pipelines.cache import caching
from retention_pipelines.integration.hooks import Hooks
from retention_pipelines.integration.integrator import Integrator
from retention_pipelines.integration.patching import Patcher
from tests.fixtures.ml_platform import MakeModule

SOURCE = '''
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Header, HTTPException, Path, Query, Request
from pydantic import BaseModel, Field

ran = []
noted = []


class Asked(BaseModel):
    model_type: str = Field(min_length=3)
    input_data: dict[str, float]


class Answer(BaseModel):
    prediction: float
    model_type: str
    at: datetime


def who(x_user: Annotated[str, Header()] = "nobody"):
    return x_user


app = FastAPI()
router = APIRouter(prefix="/v1")


@app.post("/predict", response_model=Answer)
async def make_prediction(http: Request, request: Asked, tasks: BackgroundTasks, user: str = Depends(who)):
    """Predict."""
    ran.append(user)
    if request.model_type == "bad":
        raise HTTPException(418, "no such model")
    return Answer(prediction=sum(request.input_data.values()), model_type=request.model_type, at=datetime(2024, 8, 15))


@router.get("/cells/{lat}/{lon}", response_model_exclude_none=True)
def features_at(lat: Annotated[float, Path(ge=-90, le=90)], lon: float, depth: int = Query(0, ge=0)) -> dict[str, Any]:
    ran.append(("cell", lat, lon, depth))
    return {"lat": lat, "lon": lon, "depth": depth, "none": None}


app.include_router(router)
'''
TARGETS = [
    {
        "target": "platform_web:make_prediction",
        "kind": "prediction",
        "model": "request.model_type",
        "only": ["request"],
    },
    {
        "target": "platform_web:features_at",
        "kind": "features",
        "feature_type": "cell",
        "source_table": "observations",
    },
]
GOOD = {"model_type": "richness", "input_data": {"sst": 21.5, "chl": 0.5}}


@pytest.fixture
def web(make_module: MakeModule) -> Iterator[ModuleType]:
    with caching.testing():
        yield make_module("platform_web", SOURCE)


class Client:
    """Sends requests to an application without a server in between."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def get(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._send("GET", path, options))

    def post(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._send("POST", path, options))

    async def _send(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://platform") as client:
            return await client.request(method, path, **options)


def conversation(client: Client) -> list[tuple[int, object]]:
    """Status and body of good and bad requests."""
    answers = [
        client.post("/predict", json=GOOD, headers={"x-user": "ana"}),
        client.post("/predict", json=GOOD, headers={"x-user": "rui"}),
        client.post("/predict", json=GOOD | {"model_type": "bad"}),
        client.post("/predict", json={"model_type": "x"}),
        client.post("/predict", content=b"{"),
        client.get("/v1/cells/-9.5/13.0"),
        client.get("/v1/cells/-9.5/13.0?depth=50"),
        client.get("/v1/cells/-99/13.0"),
        client.get("/v1/cells/-9.5/13.0?depth=-1"),
        client.get("/openapi.json"),
    ]
    return [(answer.status_code, json.loads(answer.content)) for answer in answers]


def test_requests_are_parsed_and_answered_as_before_and_computed_once(web: ModuleType) -> None:
    client = Client(web.app)
    plain = conversation(client)
    ran_plain = len(web.ran)
    endpoints = {id(web.make_prediction), id(web.features_at)}
    integrator = Integrator(hooks=Hooks())
    integrator.enable(targets=TARGETS)
    try:
        web.ran.clear()
        assert conversation(client) == plain
        assert conversation(client) == plain
        # Who asks does not matter here; what an endpoint raises ("bad", asked by nobody in particular) is not cached.
        assert web.ran == ["ana", "nobody", ("cell", -9.5, 13.0, 0), ("cell", -9.5, 13.0, 50), "nobody"]
    finally:
        integrator.disable()
    web.ran.clear()
    assert conversation(client) == plain
    assert len(web.ran) == ran_plain
    assert {id(web.make_prediction), id(web.features_at)} == endpoints
    held = [(id(route.endpoint), id(route.dependant.call)) for route in _routes(web.app, web.router)]
    assert len(held) >= 2
    assert all(set(pair) <= endpoints for pair in held)


def _routes(*routers: Any) -> list[Any]:
    ours = ("/predict", "{lon}", "/ask")
    return [route for router in routers for route in router.routes if getattr(route, "path", "").endswith(ours)]


def test_an_application_built_while_patched_has_the_original_endpoints_afterwards(make_module: MakeModule) -> None:
    with caching.testing():
        endpoint = make_module(
            "platform_endpoint",
            "calls = []\nasync def ask(x: int) -> dict[str, int]:\n    calls.append(x)\n    return {'x': x}\n",
        )
        integrator = Integrator(hooks=Hooks())
        integrator.enable(targets=[{"target": "platform_endpoint:ask", "kind": "prediction", "model": {"value": "m"}}])
        late = make_module(
            "platform_late_app",
            "from fastapi import FastAPI\nfrom platform_endpoint import ask\napp = FastAPI()\napp.get('/ask')(ask)\n",
        )
        client = Client(late.app)
        answers = [client.get("/ask", params={"x": 3}) for _ in range(2)]
        assert [answer.json() for answer in answers] == [{"x": 3}, {"x": 3}]
        assert client.get("/ask", params={"x": "three"}).status_code == 422
        assert endpoint.calls == [3]
        integrator.disable()
        assert client.get("/ask", params={"x": 3}).json() == {"x": 3}
        assert endpoint.calls == [3, 3]
        (route,) = _routes(late.app)
        assert route.endpoint is route.dependant.call is late.ask is endpoint.ask


def test_the_routes_are_among_the_places_that_are_told(web: ModuleType) -> None:
    from retention_pipelines.integration.patching import Request
    from retention_pipelines.integration.spots import locate

    patcher = Patcher()
    patcher.apply([Request(spot=locate("platform_web:features_at"), replacement=lambda function: function)])
    places = patcher.places("platform_web:features_at")
    patcher.undo()
    assert places[0] == "platform_web:features_at"
    assert any("endpoint" in place for place in places)
    assert any("call" in place and "Dependant" in place for place in places), places
