"""Times training steps of PyTorch (with PEFT for LoRA) in bf16, in a process of its own.

    python pytorch.py '{"model": DIR, "device": "cpu", "threads": 2, "method": "lora", "rank": 16, "batch": 1,
                        "tokens": 512, "checkpointing": false, "steps": 2}'

Prints {"step_seconds": median, "device_peak_bytes": most that tensors took of the GPU, null without
one} as its last line. A step is what llmkit's is: forward, loss over all
tokens, backward, clipping to a norm of 1, AdamW. Weights and activations are bf16; LoRA's own
matrices are float32, as PEFT makes them.
"""

import json
import statistics
import sys
import time

import torch
import transformers


def load(job):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        job["model"], dtype=torch.bfloat16, attn_implementation="sdpa"
    )
    model.config.use_cache = False
    if job["checkpointing"]:
        model.gradient_checkpointing_enable(
            gradient_checkpointing_kwargs={"use_reentrant": False}
        )
    if job["method"] == "full":
        return model
    import peft

    rank = job["rank"]
    config = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return peft.get_peft_model(model, config)


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def step(model, optimizer, ids):
    with torch.autocast(ids.device.type, dtype=torch.bfloat16):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def main():
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    device = job["device"]
    model = load(job).to(device).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)
    shape = (job["batch"], job["tokens"])
    ids = torch.randint(0, model.config.vocab_size, shape, device=device)
    step(model, optimizer, ids)
    wait(device)
    seconds = []
    for _ in range(job["steps"]):
        begun = time.perf_counter()
        step(model, optimizer, ids)
        wait(device)
        seconds.append(time.perf_counter() - begun)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
    print(json.dumps({"step_seconds": statistics.median(seconds), "device_peak_bytes": peak}))


if __name__ == "__main__":
    main()
