"""python -m msanet: the command line."""

from msanet.cli.app import main

if __name__ == "__main__":
    main()
