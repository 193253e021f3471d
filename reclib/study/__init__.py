"""Running the study and reporting it: parameters, notebooks, result files, doctor, commands."""
