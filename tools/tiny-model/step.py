"""One forward and backward pass, on a GPU as a CUDA graph for each batch shape."""

import torch
import torch.nn.functional as F

from data import PAD_ID

# Padding stands behind every sample, so causal attention needs no mask, and the class need not look for one.
NO_MASK = {"full_attention": None, "linear_attention": None}


def weighted_loss(hidden, head, targets, answer, ask, prompt_weight):
    """Cross-entropy over completions plus `prompt_weight` times that over prompts, and the former alone."""
    losses = F.cross_entropy(F.linear(hidden, head).float(), targets, reduction="none")
    on_answer = (losses * answer).sum() / answer.sum()
    return on_answer + prompt_weight * (losses * ask).sum() / ask.sum(), on_answer


class Routers:
    """Collects the router logits of a forward pass and scores how evenly the experts are used (1 = evenly)."""

    def __init__(self, model):
        self.logits: list[torch.Tensor] = []
        self.chosen = model.config.num_experts_per_tok
        for layer in model.model.layers:
            layer.mlp.gate.register_forward_hook(lambda module, inputs, output: self.logits.append(output[0]))

    def balance(self, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean of E * sum(share of tokens * share of probability), and the smallest share of an expert times E."""
        p = torch.softmax(torch.stack(self.logits).float(), -1)
        self.logits.clear()
        experts = p.shape[-1]
        used = torch.zeros_like(p).scatter_(2, p.topk(self.chosen, -1).indices, 1.0) * real[:, None]
        share = used.sum(1) / (real.sum() * self.chosen)
        mean = (p * real[:, None]).sum(1) / real.sum()
        return experts * (share * mean).sum(-1).mean(), experts * share.min()


class Step:
    """Writes the gradients of a batch into `p.grad` of the model's parameters."""

    def __init__(self, model, balance_weight: float, compiled: bool):
        self.model, self.balance_weight = model, balance_weight
        self.device = model.lm_head.weight.device
        self.routers = Routers(model)
        self.loss = torch.compile(weighted_loss) if compiled else weighted_loss
        self.prompt_weight = torch.zeros((), device=self.device)
        self.grads = [torch.zeros_like(p) for p in model.parameters()]
        for p, grad in zip(model.parameters(), self.grads):
            p.grad = grad
        self.graphs: dict[tuple[int, ...], tuple] = {}

    def compute(self, ids, answer, ask) -> torch.Tensor:
        """Loss on completions, balance, least used expert; [3]."""
        torch._foreach_zero_(self.grads)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, cache_enabled=False):
            hidden = self.model.model(input_ids=ids, attention_mask=NO_MASK, use_cache=False).last_hidden_state
            loss, on_answer = self.loss(
                hidden.reshape(-1, hidden.shape[-1]),
                self.model.lm_head.weight,
                torch.roll(ids, -1, 1).reshape(-1),
                answer.reshape(-1),
                ask.reshape(-1),
                self.prompt_weight,
            )
            balance, least = self.routers.balance((ids != PAD_ID).float().reshape(-1))
        (loss + self.balance_weight * balance).backward()
        return torch.stack((on_answer.detach(), balance.detach(), least))

    def __call__(self, batch, prompt_weight: float) -> torch.Tensor:
        self.prompt_weight.fill_(prompt_weight)
        tensors = [torch.from_numpy(a).to(self.device) for a in batch]
        if self.device.type != "cuda":
            return self.compute(*tensors)
        shape = tuple(tensors[0].shape)
        if shape not in self.graphs:
            self.graphs[shape] = self.capture(tensors)
        graph, inputs, out = self.graphs[shape]
        torch._foreach_copy_(inputs[1:], tensors[1:])
        inputs[0].copy_(tensors[0])
        graph.replay()
        return out

    def capture(self, inputs):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.compute(*inputs)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = self.compute(*inputs)
        return graph, inputs, out
