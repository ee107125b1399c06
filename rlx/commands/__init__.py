"""The sub-commands of `rlx`, each `main(arguments) -> exit code`."""
