import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

WORDS = torch.arange(600) % 7 + torch.randint(2, (600,), generator=torch.Generator().manual_seed(0))
TEXT = [{"input_ids": WORDS[i : i + 12], "labels": WORDS[i : i + 12]} for i in range(0, 588, 12)]


def main(config):
    model = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_positions=16, n_embd=16, n_layer=1, n_head=2))
    args = TrainingArguments(
        output_dir="out",
        learning_rate=config["lr"],
        weight_decay=config["weight_decay"],
        per_device_train_batch_size=config["batch_size"],
        max_steps=config["steps"],
        seed=config["seed"],
        lr_scheduler_type="cosine",
        eval_strategy="steps",
        eval_steps=10,
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model,
        args=args,
        train_dataset=TEXT[:40],
        eval_dataset=TEXT[40:],
    )
    trainer.train()


if __name__ == "__main__":
    main({"lr": 1e-2, "weight_decay": 0.01, "batch_size": 8, "steps": 60, "seed": 0})
