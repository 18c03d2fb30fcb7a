"""What lasts in a workspace: dataset versions, model versions and who was champion. The only importer of dvc and gto."""
