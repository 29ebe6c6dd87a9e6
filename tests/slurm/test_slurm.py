import pytest
from conftest import ROOT, TABLES, Run

pytestmark = pytest.mark.slurm


def test_end_to_end(cluster, tmp_path):
    laptop, slurm = Run(tmp_path / "laptop", cluster), Run(tmp_path / "slurm", cluster)
    laptop.on_laptop()
    slurm.snakemake(*slurm.on_slurm())
    for j in slurm.jobs(): print(j)
    for t in sorted((laptop.folder/"results/tables").glob("*.csv")):
        print(t.name, t.read_bytes()==(slurm.folder/"results/tables"/t.name).read_bytes())
    print(slurm.log.read_text()[:3000])
    assert 0
