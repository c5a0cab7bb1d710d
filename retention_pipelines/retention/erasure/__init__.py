"""An order to remove a study, taxon, contributor or dataset from every tier, with a certificate."""
