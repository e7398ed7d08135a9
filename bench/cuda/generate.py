"""Times a generation of transformers on a GPU, in a process of its own.

    python generate.py '{"model": DIR, "promptTokens": 512, "newTokens": 256, "quantized": false}'

Prints {"decode": tokens per second, "prefill": tokens per second, "eager": null} as its last line.
Weights are bf16, or NF4 of bitsandbytes; a step is compiled with a static cache. Where bitsandbytes'
operations cannot be, "eager" says why, and the figures are of a step that is not compiled.
"""

import json
import sys
import time

import torch
import transformers


def load(job):
    options = {"dtype": torch.bfloat16, "attn_implementation": "sdpa", "device_map": "cuda"}
    if job["quantized"]:
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    return transformers.AutoModelForCausalLM.from_pretrained(job["model"], **options).eval()


def seconds(model, job, new_tokens, compiled):
    shape = (1, job["promptTokens"])
    ids = torch.randint(0, model.config.vocab_size, shape, device="cuda")
    options = {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens, "do_sample": False}
    if compiled:
        options["cache_implementation"] = "static"
    torch.cuda.synchronize()
    begun = time.perf_counter()
    with torch.inference_mode():
        model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    torch.cuda.synchronize()
    return time.perf_counter() - begun


def measure(model, job, compiled):
    count = job["newTokens"]
    for _ in range(2):  # the first compiles
        seconds(model, job, count, compiled)
        seconds(model, job, 1, compiled)
    whole, first = seconds(model, job, count, compiled), seconds(model, job, 1, compiled)
    return {"decode": (count - 1) / (whole - first), "prefill": job["promptTokens"] / first}


def main():
    job = json.loads(sys.argv[1])
    torch.manual_seed(0)
    model = load(job)
    plain, eager = model.forward, None
    model.forward = torch.compile(plain, mode="reduce-overhead")
    try:
        figures = measure(model, job, compiled=True)
    except Exception as error:  # whatever a compiler may raise
        if not job["quantized"]:
            raise
        eager = (str(error).strip() or repr(error)).splitlines()[0]
        model.forward = plain
        torch.compiler.reset()
        figures = measure(model, job, compiled=False)
    print(json.dumps({**figures, "eager": eager}))


if __name__ == "__main__":
    main()
