"""A tracking server that goes away in the middle of a run."""

import re

import numpy as np
import pytest

from trialml.errors import TrackingError
from trialml.survival.kaplan_meier import kaplan_meier
from trialml.tracking.history import append_entry
from trialml.tracking.runs import list_runs
from trialml.tracking.spool import keep, kept_runs, send
from trialml.tracking.versions import list_versions


class Dying:
    """A client of a server that goes away for good at the given call, before it is carried out or after."""

    def __init__(self, client, calls, carried_out):
        self.client, self.left, self.carried_out = client, calls, carried_out

    def __getattr__(self, name):
        called = getattr(self.client, name)
        if not callable(called):
            return called

        def call(*given, **more):
            self.left -= 1
            if self.left > 0:
                return called(*given, **more)
            if self.left == 0 and self.carried_out:
                called(*given, **more)
            raise ConnectionError("the server is gone")

        return call


@pytest.mark.parametrize(("step", "fewest"), [(11, 3), pytest.param(1, 30, marks=pytest.mark.long)])
def test_a_server_that_dies_in_the_middle_of_a_run_gets_it_once_when_it_is_back(
    store, make_fake_run, make_fake_model, tmp_path, monkeypatch, step, fewest
):
    curve = kaplan_meier(np.arange(1.0, 41.0), np.arange(40) % 3 > 0)
    client, moment, said, finished = store.client, 2, [], 0
    while finished < 1:
        carried_out = moment % 2 == 0
        name = f"DYING{step}_{moment}-risk"
        run = make_fake_run(experiment=f"DYING{step}_{moment}/risk", results=[curve], model=make_fake_model(name=name))
        monkeypatch.setattr(store, "client", Dying(client, moment, carried_out))
        try:
            store.track(run)
            finished += 1
        except TrackingError as error:
            said.append(str(error))
            keep(run, tmp_path, "http://127.0.0.1:9")
        monkeypatch.setattr(store, "client", client)
        for kept in kept_runs(tmp_path):
            send(store, kept)
        assert not (tmp_path / "spool").exists()
        runs = client.search_runs([store.experiment(run.experiment)])
        assert [one.info.status for one in runs].count("FINISHED") == 1
        assert {one.info.status for one in runs} <= {"FINISHED", "KILLED"}
        (whole,) = (one for one in runs if one.info.status == "FINISHED")
        assert whole.data.tags["trialml.status"] == "completed"
        (version,) = (one for one in list_versions(client) if one.name == name)
        assert version.run_id == whole.info.run_id
        # An attempt that broke off after it was registered has used up number 1; who is champion is then for people to say.
        assert version.aliases == (("champion",) if version.version == "1" else ("challenger",))
        moment += step
    assert len(said) >= fewest
    assert all(re.search("the server is gone|ConnectionError", one) and "marked as failed" not in one for one in said)


def test_a_list_of_runs_holds_what_mlflow_s_own_search_finds(store, make_fake_run):
    links = [store.track(make_fake_run(experiment=f"LISTED/{subject}", model=None)) for subject in ("risk", "response")]
    deleted = store.track(make_fake_run(experiment="LISTED/risk", model=None))
    store.client.delete_run(deleted.run_id)
    listed = list_runs(store)
    assert {run.run_id for run in listed} >= {link.run_id for link in links}
    assert deleted.run_id not in {run.run_id for run in listed}
    words = "attributes.status != 'SCHEDULED'"  # with a filter MLflow searches itself
    assert sorted(listed, key=repr) == sorted(list_runs(store, words), key=repr)


def test_the_model_s_page_says_the_last_decision_in_words(store):
    store.client.create_registered_model("WORDS-risk")
    append_entry(
        store, "WORDS-risk", {"action": "promoted", "who": "a.statistician", "version": "3", "reason": "because"}
    )
    told = store.client.get_registered_model("WORDS-risk").tags["trialml.last_change"]
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d: version 3 promoted by a\.statistician \(record 1; all of them: trialml history WORDS-risk\)",
        told,
    )
