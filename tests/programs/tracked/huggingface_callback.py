import argparse

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.01)
parser.add_argument("--steps", type=int, default=60)
parser.add_argument("--eval_steps", type=int, default=10)
options = parser.parse_args()

words = torch.arange(600) % 7 + torch.randint(2, (600,), generator=torch.Generator().manual_seed(0))
text = [{"input_ids": words[i : i + 12], "labels": words[i : i + 12]} for i in range(0, 588, 12)]
trainer = Trainer(
    model=GPT2LMHeadModel(GPT2Config(vocab_size=16, n_positions=16, n_embd=16, n_layer=1, n_head=2)),
    args=TrainingArguments(
        output_dir="out",
        run_name="tiny",
        report_to="mlflow",
        learning_rate=options.lr,
        max_steps=options.steps,
        logging_steps=10,
        eval_strategy="steps" if options.eval_steps else "no",
        eval_steps=options.eval_steps or None,
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    ),
    train_dataset=text[:40],
    eval_dataset=text[40:],
)
trainer.train()
print(trainer.evaluate())
