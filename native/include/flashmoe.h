/* The engine's whole public surface: open a packed model, run sessions on it. Plain C, so that it can be tested
 * and embedded without Node. No exception crosses it: every call that can fail returns a status and fills an
 * fm_error. All integers are counts or bytes, little-endian where they reach a file. */
#ifndef FLASHMOE_H
#define FLASHMOE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fm_status {
    FM_OK = 0,
    FM_MODEL_DAMAGED,     /* a file, tensor or size is not what the manifests say */
    FM_MODEL_MISSING,     /* a file of the model isn't there */
    FM_UNSUPPORTED_MODEL, /* sound, but not computable here */
    FM_CONTEXT,           /* more tokens than the model, the session or the memory allows */
    FM_IO,                /* a read failed or fell short while running */
    FM_INTERRUPTED,       /* the progress callback asked to stop */
    FM_ENGINE             /* misuse, exhausted memory, logits that are not finite */
} fm_status;

typedef struct fm_error {
    fm_status status;
    char message[1024]; /* what happened, with the file or tensor; always terminated */
} fm_error;

typedef struct fm_engine fm_engine;
typedef struct fm_session fm_session;
typedef struct fm_snapshot fm_snapshot;

typedef struct fm_engine_options {
    const char *model_dir;   /* model_weights.{bin,json} */
    const char *experts_dir; /* layout.json and layer files */
    uint32_t threads;
    uint32_t io_threads;
    uint32_t token_limit;       /* ids at or above it are never sampled */
    uint32_t experts_per_token; /* 0 = as the model says */
    uint32_t direct_reads;      /* not 0: experts are read past the page cache */
    uint32_t exact_caches;      /* not 0: attention keeps f32 instead of 16 bits; "cpu" only */
    const char *backend;        /* "cpu" or "metal" */
    const char *kernels_dir;    /* *.metal; looked at for "metal" only */
    const char *isa;            /* "cpu" only: an instruction set by name; NULL or "" = the best there is */
    uint32_t fast;              /* not 0: "cpu" multiplies activations of 8 bits where weights are quantised */
    uint32_t map_experts;       /* not 0: experts stay where their files are mapped; "cpu" only, else they are read */
    uint64_t expert_bytes;      /* memory that experts stay in, where they aren't mapped; 0 = what streaming takes */
    float expert_mass;          /* of a token's routed weight, what the experts computed carry at least; 0 or 1 = all of it */
    uint32_t prefill_tokens;    /* that go through a layer together; 0 = 1024 */
} fm_engine_options;

typedef struct fm_engine_info {
    const char *backend;
    const char *isa;
    uint32_t vocab_size, max_positions, layers, hidden_size;
    uint32_t residual_size; /* floats a token between layers: hidden_size, times the residual streams */
    uint32_t experts_per_token;
    uint64_t dense_bytes, expert_bytes_per_token, state_bytes, kv_bytes_per_token;
    uint64_t expert_file_bytes, largest_expert_bytes; /* of all layer files; of one expert */
    uint64_t expert_pool_bytes;                       /* memory that experts stay in; 0 where they are mapped */
    uint32_t experts_held, experts_mapped;            /* experts in the pool; not 0: they stay where their files are mapped */
    uint32_t prefill_tokens;
    uint64_t prefill_bytes_per_token; /* memory that a pass takes */
} fm_engine_info;

typedef struct fm_step_stats {
    uint32_t tokens;
    double seconds;
    uint64_t expert_bytes_read, expert_reads;
    double io_seconds; /* of `seconds`, how long computing stood still for expert reads */
    uint64_t device_waits; /* times the host waited for the GPU; 0 on the CPU, as the two below */
    double device_wait_seconds, device_seconds; /* of `seconds`, spent so; and what the GPU itself was at work */
    uint64_t expert_uses, expert_hits; /* experts asked for, one for each layer and step; those in memory already */
    uint64_t expert_waits;             /* times computing stood still for one */
} fm_step_stats;

typedef struct fm_sampling {
    double temperature; /* 0 = greedy: top_p, top_k and min_p are then ignored */
    double top_p;       /* 1 = off */
    uint32_t top_k;     /* 0 = off */
    double min_p;       /* 0 = off */
    const uint32_t *allowed; /* one bit a token, little-endian words; NULL = all */
    size_t allowed_words;    /* ids beyond the last word are not allowed */
    const int32_t *bias_ids;
    const float *bias_values; /* added to logits before temperature */
    size_t bias_count;
} fm_sampling;

typedef struct fm_kernel_check {
    const char *name;
    double max_error, tolerance;
    int ok;
} fm_kernel_check;

/* Called between layers from the thread that runs the step, with tokens done of total. Nonzero = stop. */
typedef int (*fm_progress)(void *user, uint64_t done, uint64_t total);

/* Stable name of a status, e.g. "ERR_MODEL_DAMAGED". */
const char *fm_status_name(fm_status status);

/* Maps the dense file, opens the layer files and checks every tensor and size against the manifests. */
fm_status fm_engine_open(const fm_engine_options *options, fm_engine **engine, fm_error *error);
void fm_engine_info_get(const fm_engine *engine, fm_engine_info *info);
/* Between steps, from any thread: experts stay in so many bytes of memory from here on; no results change. */
fm_status fm_engine_resize_experts(fm_engine *engine, uint64_t bytes, fm_error *error);
/* The most used experts in memory, to a small file; and those of such a file read into free memory while nobody waits for
 * others. A file of another model, a damaged one or none warms nothing. */
fm_status fm_engine_save_hottest(fm_engine *engine, const char *path, fm_error *error);
fm_status fm_engine_warm(fm_engine *engine, const char *path, fm_error *error);
/* Drops the handle; sessions keep what they need alive. */
void fm_engine_close(fm_engine *engine);

/* What routed experts multiplied their weights with, squared and added up over tokens, each weighted by the square of the
 * expert's share. */
typedef struct fm_channel_squares {
    uint32_t experts, hidden, intermediate; /* 0: the layer has no routed experts, or they have seen nothing */
    const double *input;    /* [hidden]: the input of gate and up, over all experts */
    const double *inner;    /* [experts, intermediate]: the input of down */
    const uint64_t *tokens; /* [experts]: for how many tokens each was chosen */
} fm_channel_squares;

/* From here on steps count; each costs about twice as much. */
fm_status fm_engine_observe(fm_engine *engine, fm_error *error);
/* Points into the engine: good until its next step. FM_ENGINE where nothing is observed or there is no such layer. */
fm_status fm_engine_squares(const fm_engine *engine, uint32_t layer, fm_channel_squares *squares, fm_error *error);

/* Reserves address space for max_tokens; memory is used as tokens come. */
fm_status fm_session_create(fm_engine *engine, uint32_t max_tokens, fm_session **session, fm_error *error);
void fm_session_close(fm_session *session);

uint32_t fm_session_length(const fm_session *session);

/* Appends tokens; leaves the last position's logits. On failure the session is as before the failing chunk when
 * its state can be rolled back, otherwise every further step says FM_ENGINE until reset, rewind or restore. */
fm_status fm_session_prefill(fm_session *session, const int32_t *tokens, size_t count, fm_progress progress,
                             void *user, fm_step_stats *stats, fm_error *error);
fm_status fm_session_decode(fm_session *session, int32_t token, fm_step_stats *stats, fm_error *error);

/* As prefill, but returns logits [count, vocab] and, unless NULL, layers + 1 hidden states [count, residual] each, the last [count, hidden]:
 * the input of every layer, then the final norm's output. */
fm_status fm_session_evaluate(fm_session *session, const int32_t *tokens, size_t count, float *logits,
                              float *const *hidden, fm_progress progress, void *user, fm_error *error);

/* Copies the last logits [vocab]. */
fm_status fm_session_logits(const fm_session *session, float *logits, fm_error *error);
void fm_session_seed(fm_session *session, uint64_t seed);
fm_status fm_session_sample(fm_session *session, const fm_sampling *sampling, int32_t *token, fm_error *error);

/* Back to empty; refused only while a snapshot is out. */
fm_status fm_session_reset(fm_session *session, fm_error *error);
fm_status fm_session_fork(const fm_session *session, fm_session **fork, fm_error *error);

/* Going back. A mark is a length that a state can be taken back to: KV is cut off, recurrent state is copied. */

/* Lengths at which later prefills leave a mark, at no further reads; replaces those asked for before. */
fm_status fm_session_mark_at(fm_session *session, const uint32_t *lengths, size_t count, fm_error *error);
/* A mark at the present length, with logits. Where memory for marks is short, others go. */
fm_status fm_session_mark(fm_session *session, fm_error *error);
/* The largest length up to `limit` that fm_session_rewind takes: marks, the present length, 0; any where no state is
 * recurrent. */
uint32_t fm_session_reachable(const fm_session *session, uint32_t limit);
/* Leaves logits only where the mark has them. Also mends a session whose state was lost. */
fm_status fm_session_rewind(fm_session *session, uint32_t length, fm_error *error);

/* States in files, by parts: what a range of tokens left in caches, and what is fixed in size behind a number of tokens.
 * `program` names what computed them: with model, quantisation and top-k it makes the key under which a file is written
 * and taken back. */
uint64_t fm_engine_state_key(const fm_engine *engine, const char *program);

typedef struct fm_state_file {
    const char *path;
    uint32_t from, to; /* tokens; equal: the state of fixed size behind so many, of a mark there */
} fm_state_file;

/* Reads the state and the marks up to a length while the session goes on; until it is freed the session can't go back
 * below that. */
fm_status fm_snapshot_take(fm_session *session, uint32_t length, fm_snapshot **snapshot, fm_error *error);
/* From any thread. Creates one file; on failure it is taken away again. `tokens` are all of the snapshot's. */
fm_status fm_snapshot_save(const fm_snapshot *snapshot, const int32_t *tokens, const char *program,
                           const fm_state_file *file, fm_progress progress, void *user, uint64_t *bytes,
                           fm_error *error);
void fm_snapshot_free(fm_snapshot *snapshot);

/* Makes the state that of these tokens; no logits. The files' ranges follow each other from what the state has of the
 * same tokens already; the last may go on behind. Where state of fixed size is, a file of that comes last. FM_ENGINE for
 * a damaged or foreign file. On failure the state is as before or empty: fm_session_length tells. */
fm_status fm_session_restore(fm_session *session, const int32_t *tokens, size_t count, const char *program,
                             const fm_state_file *files, size_t file_count, fm_progress progress, void *user,
                             fm_error *error);

/* Every kernel of the chosen instruction set against a double-precision reference. Returns the number of checks;
 * fills at most `capacity` of them. */
size_t fm_self_test(fm_kernel_check *checks, size_t capacity, const char **backend, const char **isa);

typedef struct fm_device {
    char name[128];
    uint64_t recommended_working_set, max_buffer_bytes;
    int low_power; /* the system asks to save energy */
} fm_device;

/* The GPU that the backend "metal" would use. FM_ENGINE: there is none, and why. Compiles nothing. */
fm_status fm_metal_device(fm_device *device, fm_error *error);

/* Every operation of a backend, "cpu" or "metal" (its kernels compiled from `kernels_dir`), against double-precision
 * references on inputs drawn from `seed`: equal seeds give all backends equal inputs. Sets *count to the number of
 * checks and fills at most `capacity`; names live until the next call from the same thread. `isa` receives the
 * instruction set or the device's name. FM_ENGINE: the backend is not available, or the kernels do not compile or
 * run, and why. */
fm_status fm_self_test_backend(const char *backend, const char *kernels_dir, uint64_t seed, fm_kernel_check *checks,
                               size_t capacity, size_t *count, char *isa, size_t isa_bytes, fm_error *error);

typedef struct fm_rate {
    char name[64];
    double bytes, seconds, device_seconds; /* of one call; device_seconds 0 where the host computes */
} fm_rate;

/* How fast a backend, as above, gets through the operations of a token, each for about `seconds`, its weights spread
 * over `memory` bytes. Sets *count and fills at most `capacity`. FM_ENGINE as above. */
fm_status fm_measure_rates(const char *backend, const char *kernels_dir, uint32_t threads, uint64_t memory, double seconds,
                           fm_rate *rates, size_t capacity, size_t *count, double *wait_seconds, fm_error *error);

/* By how many bytes wired memory grows while the backend reads a mapped file, and as much allocated memory. FM_ENGINE
 * also where the system doesn't say what is wired; FM_IO. */
fm_status fm_measure_wired(const char *backend, const char *kernels_dir, const char *file, double *mapped, double *allocated,
                           fm_error *error);

#ifdef __cplusplus
}
#endif
#endif
