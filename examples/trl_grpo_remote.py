"""
GRPO with programs that run on other hosts.

    stepcoder-trl serve --host 0.0.0.0                                        # on each host
    python examples/trl_grpo_remote.py MODEL PROBLEMS OUT http://sandbox-1:8080 http://sandbox-2:8080

docs/serve.md says how to protect the service. The last line names the folder of the model:

    saved to OUT
"""

from __future__ import annotations

import argparse


def main(model: str, problems: str, out: str, urls: list[str]) -> None:
    """Train a model on problems. The hosts at `urls` run its programs."""
    from stepcoder_trl import StepCoderGRPOConfig, StepCoderGRPOTrainer, load_problems
    from stepcoder_trl.executor import RemoteExecutor

    with RemoteExecutor(urls) as executor:
        trainer = StepCoderGRPOTrainer(
            model=model,
            args=StepCoderGRPOConfig(output_dir=out),
            train_dataset=load_problems(problems),
            executor=executor,
        )
        trainer.train()
    trainer.save_model()
    print(f"saved to {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="Model to train: a folder or a name on the Hub.")
    parser.add_argument("problems", help="File of problems.")
    parser.add_argument("out", help="Folder of the run.")
    parser.add_argument("urls", nargs="+", help="Addresses of the hosts.")
    main(**vars(parser.parse_args()))
