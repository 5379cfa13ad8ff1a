"""CO2e factors by the API and by the command line."""

from __future__ import annotations

import json

import pytest

from deploy.cli import main
from tests.integration.api.conftest import serving
from tests.integration.api.test_access import assert_problem

pytestmark = pytest.mark.stack

GRID = {
    "key": "grid-2025",
    "carrier": "electricity",
    "basis": "location",
    "area": "DK1",
    "value": 81.5,
    "unit": "g/kWh",
    "gas": "CO2e",
    "from": "2025-01-01",
    "to": "2026-01-01",
    "source": "somebody",
    "licence": "free",
}
BODY = {"author": "Anna", "reason": "the year's table", "items": [GRID]}
HEADER = "key,carrier,scope,basis,area,value,unit,gas,from,to,source,licence,remark\n"
GAS = "gas,natural_gas,,,,0.204,kg/kWh,CO2,2025-01-01,,Danish Energy Agency,free,\n"
HOURS = "HourUTC;HourDK;PriceArea;CO2PerkWh\n" + "".join(
    f"2025-03-30 {hour:02}:00;x;{area};{100 + hour},5\n" for hour in range(4) for area in ("DK1", "DK2", "SE3")
)
SAID = {"author": "Anna", "reason": "a file"}


class TestRoutes:
    async def test_put_list_show_withdraw(self, client):
        answer = await client.put("/v1/factors", json=BODY)
        assert answer.json() == {
            "saved": 1,
            "unchanged": 0,
            "items": [{"key": "grid-2025", "version": 1, "is_new": True}],
        }
        page = (await client.get("/v1/factors", params={"carrier": "electricity"})).json()
        assert [(item["key"], item["value"], item["unit"], item["scope"]) for item in page["items"]] == [
            ("grid-2025", 0.0815, "kWh", "scope_2")
        ]
        assert (await client.get("/v1/factors", params={"carrier": "steam"})).json()["items"] == []
        gone = (await client.post("/v1/factors/grid-2025/withdraw", json=SAID)).json()
        assert [version["is_withdrawn"] for version in gone["versions"]] == [False, True]
        assert (await client.get("/v1/factors/grid-2025")).json() == gone
        assert_problem(await client.post("/v1/factors/grid-2025/withdraw", json=SAID), 409, "already")

    async def test_pages(self, client):
        items = [{**GRID, "key": f"g{i}", "area": f"A{i}"} for i in range(5)]
        await client.put("/v1/factors", json={**BODY, "items": items})
        found, cursor = [], None
        while True:
            page = (
                await client.get("/v1/factors", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
            ).json()
            found += [item["key"] for item in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert found == ["g0", "g1", "g2", "g3", "g4"]

    async def test_import_of_a_table_and_of_the_grid(self, client):
        answer = (await client.post("/v1/factors/import", params=SAID, content=HEADER + GAS)).json()
        assert (answer["rows"], answer["saved"], answer["grid"]) == (1, 1, None)
        answer = (await client.post("/v1/factors/import", params=SAID, content=HOURS)).json()
        assert answer["grid"] == {
            "hours": 8,
            "hours_incomplete": 0,
            "rows_of_other_areas": 4,
            "rows_of_other_methods": 0,
        }
        again = (await client.post("/v1/factors/import", params=SAID, content=HOURS)).json()
        assert (again["saved"], again["unchanged"]) == (0, 2)
        hours = (await client.get("/v1/factors/declaration-dk2-2025-03/hours")).json()
        assert hours["items"][3] == {"hour": "2025-03-30T03:00:00Z", "kg_per_unit": 0.1035}
        factor = (await client.get("/v1/factors/declaration-dk2-2025-03")).json()
        assert (factor["value"], factor["hours"], factor["area"]) == (None, 4, "DK2")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"items": []}, "items"),
            ({"items": [GRID, GRID]}, "stands twice"),
            ({"reason": " "}, "reason"),
            ({"items": [{**GRID, "value": -1}]}, "value"),
            ({"items": [{**GRID, "value": 10**40}]}, "value"),
            ({"items": [{**GRID, "unit": "lb/kWh"}]}, "unit"),
            ({"items": [{**GRID, "from": "1700-01-01"}]}, "from"),
            ({"items": [{**GRID, "key": "\x00"}]}, "key"),
            ({"items": [{**GRID, "source": "\x00"}]}, "source"),
            ({"items": [{**GRID, "colour": "red"}]}, "colour"),
        ],
    )
    async def test_bad_factors(self, client, change, words):
        assert_problem(await client.put("/v1/factors", json=BODY | change), 422, words)
        assert (await client.get("/v1/factors")).json()["items"] == []

    async def test_bad_addresses(self, client):
        for path in (
            "/v1/factors/UPPER",
            "/v1/factors/%00",
            "/v1/factors?cursor=nonsense",
            "/v1/factors/x/hours?version=0",
        ):
            assert_problem(await client.get(path), 422)
        for path in ("/v1/factors/none", "/v1/factors/none/hours"):
            assert_problem(await client.get(path), 404, "no factor none")
        await client.put("/v1/factors", json=BODY)
        assert_problem(await client.get("/v1/factors/grid-2025/hours?version=7"), 404, "version 7")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "no rows"),
            (b"\xff\xfe", "UTF-8"),
            (b"{}", "records"),
            (b"a;b\n1;2\n", "neither"),
            ((HEADER + GAS + GAS).encode(), "file:3"),
            (HOURS.replace("100,5", "lots").encode(), "file:2: 'lots' is no number"),
        ],
    )
    async def test_bad_files(self, client, content, words):
        assert_problem(await client.post("/v1/factors/import", params=SAID, content=content), 422, words)
        assert (await client.get("/v1/factors")).json()["items"] == []
        assert_problem(
            await client.post("/v1/factors/import", params={**SAID, "author": " "}, content=HOURS), 422, "author"
        )

    async def test_factors_that_would_both_hold(self, client):
        await client.put("/v1/factors", json=BODY)
        body = BODY | {"items": [{**GRID, "key": "another"}]}
        assert_problem(await client.put("/v1/factors", json=body), 409, "neither would win")

    async def test_only_one_s_own(self, client, database_url, other_site, make_token):
        await client.put("/v1/factors", json=BODY)
        async with serving(database_url, make_token("rival")) as rival:
            assert (await rival.get("/v1/factors")).json()["items"] == []
            assert_problem(await rival.get("/v1/factors/grid-2025"), 404)
            assert_problem(await rival.post("/v1/factors/grid-2025/withdraw", json=SAID), 404)
            assert (await rival.put("/v1/factors", json=BODY)).json()["saved"] == 1
        async with serving(database_url, make_token(scopes=("read",))) as reader:
            assert_problem(await reader.put("/v1/factors", json=BODY), 403)

    async def test_the_area_is_a_part_of_the_site_model(self, client):
        model = (await client.get("/v1/sites/odense/model")).json()
        assert model["site"]["grid_area"] is None
        model["site"]["grid_area"] = "DK1"
        assert (await client.put("/v1/sites/odense/model", json=model)).status_code == 200
        assert (await client.get("/v1/sites/odense")).json()["grid_area"] == "DK1"
        assert (await client.get("/v1/sites")).json()["items"][0]["grid_area"] == "DK1"
        model["site"]["grid_area"] = "dk1"
        assert_problem(await client.put("/v1/sites/odense/model", json=model), 422, "grid_area")


@pytest.fixture
def run(database_url, site, capsys):
    """Run `afkobling factors`; its exit status, what it printed and what it complained of."""

    def command(*words) -> tuple[int, str, str]:
        status = main(["factors", *words, "--database-url", database_url])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return command


class TestCommand:
    def test_from_import_to_withdraw(self, run, tmp_path):
        path = tmp_path / "factors.csv"
        path.write_text(HEADER + GAS, "utf-8")
        assert run("import", str(path), "--author", "Anna")[:2] == (
            0,
            "1 rows: 1 factors stored, 0 known already\n  gas  version 1\n",
        )
        assert (
            "gas  0.204 kg CO2/kWh natural_gas, everywhere, scope_1, 2025-01-01 to further notice\n" in run("list")[1]
        )
        assert run("withdraw", "gas", "--author", "Anna", "--reason", "wrong table")[0] == 0
        out = run("show", "gas")[1]
        assert "Danish Energy Agency (free)" in out
        assert "Anna: import of factors.csv" in out
        assert "withdrawn" in out
        shown = json.loads(run("show", "gas", "--json")[1])
        assert [version["version"] for version in shown["versions"]] == [1, 2]

    def test_a_file_of_the_grid(self, run, tmp_path):
        path = tmp_path / "declaration.csv"
        path.write_text(HOURS, "utf-8")
        _, out, _ = run("import", str(path), "--area", "DK1")
        assert "declaration-dk1-2025-03  version 1\n" in out
        assert "4 hours taken\n" in out
        assert "8 rows of other areas left out\n" in out
        assert json.loads(run("list", "--json")[1])["items"][0]["hours"] == 4

    def test_shipped(self, run):
        status, out, _ = run("import", "--shipped")
        assert status == 0
        assert "uk-grid-2025" in out
        assert "2 known already" in run("import", "--shipped")[1]

    def test_refusals(self, run, tmp_path, other_site):
        path = tmp_path / "bad.csv"
        path.write_text(HEADER + GAS.replace("0.204", "lots"), "utf-8")
        for words, told in [
            (["import", str(path), "--organisation", "acme"], "bad.csv:2: value"),
            (["import", str(tmp_path), "--organisation", "acme"], "can't be read"),
            (["import", "none.csv", "--organisation", "acme"], "can't be read"),
            (["list"], "acme, rival"),
            (["list", "--organisation", "nobody"], "no such organisation"),
            (["show", "gas", "--organisation", "acme"], "no factor gas"),
            (["withdraw", "gas", "--reason", "x", "--organisation", "acme"], "no factor gas"),
        ]:
            status, out, err = run(*words)
            assert (status, out) == (1, "")
            assert told in err
        assert run("list", "--organisation", "acme")[1].startswith("no such factors")
        with pytest.raises(SystemExit):
            run("import")
        with pytest.raises(SystemExit):
            run("import", "--shipped", str(path))
