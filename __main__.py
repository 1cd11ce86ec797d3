"""`python -m attention_zoo`: the same as the command `attention-zoo`."""

from .recipes.cli.main import main

if __name__ == "__main__":
    main()
