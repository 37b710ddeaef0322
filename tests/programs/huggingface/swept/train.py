import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from espalier.transformers import SweepCallback, arguments, follow_schedule, resume_folder

WORDS = torch.arange(600) % 7 + torch.randint(2, (600,), generator=torch.Generator().manual_seed(0))
TEXT = [{"input_ids": WORDS[i : i + 12], "labels": WORDS[i : i + 12]} for i in range(0, 588, 12)]


def main(config, report):
    model = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_positions=16, n_embd=16, n_layer=1, n_head=2))
    args = TrainingArguments(
        **arguments(config, report),
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model,
        args=args,
        train_dataset=TEXT[:40],
        eval_dataset=TEXT[40:],
        callbacks=[SweepCallback(report)],
    )
    follow_schedule(trainer, config)
    trainer.train(resume_from_checkpoint=resume_folder(report))
