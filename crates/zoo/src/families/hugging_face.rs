//! `config.json` of Hugging Face's `transformers`, versions 4 and 5: which family, and what all families share.

use serde_json::{Value, json};

use super::settings::Settings;
use super::{NetworkFileError, gpt_neo, gpt_neox, gpt2, llama};
use crate::{Layout, Positions, RotaryScalingConfig, TransformerConfig};

/// The network of a `config.json`, and the names that its checkpoints use.
pub(super) fn network(mut settings: Settings) -> Result<(TransformerConfig, Layout), NetworkFileError> {
    let kind = settings.text("model_type")?;
    let (config, layout) = match kind.as_deref() {
        Some("gpt2") => (gpt2::network(&mut settings)?, Layout::Gpt2),
        Some("gpt_neo") => (gpt_neo::network(&mut settings)?, Layout::GptNeo),
        Some("gpt_neox") => (gpt_neox::network(&mut settings)?, Layout::GptNeox),
        Some(kind @ ("llama" | "mistral" | "qwen2")) => (llama::network(&mut settings, kind)?, Layout::Llama),
        _ => {
            let found = kind.map_or(Value::Null, Value::String);
            let expected = "one of gpt2, gpt_neo, gpt_neox, llama, mistral, qwen2; another architecture comes in as ONNX or as a \
                            graph of its own";
            return Err(settings.wrong("model_type", &found, expected));
        }
    };
    let causal = "networks here read from left to right, each alone";
    for key in ["is_encoder_decoder", "add_cross_attention", "tie_encoder_decoder"] {
        settings.only(key, &json!(false), causal)?;
    }
    settings.only("chunk_size_feed_forward", &json!(0), "chunks would still be computed as a whole")?;
    settings.only("pruned_heads", &json!({}), "save the network without its pruned heads")?;
    settings.check_finished(&[NOTES, DROPOUT, GENERATION])?;
    Ok((config, layout))
}

/// A transformer with nothing that is optional, of the sizes given.
pub(super) fn plain(layers: usize, d_model: usize, heads: usize, vocabulary: usize) -> TransformerConfig {
    let settings = json!({
        "layers": layers, "d_model": d_model, "heads": heads, "vocabulary": vocabulary,
        "normalization": "layer_norm", "positions": "learned",
    });
    serde_json::from_value(settings).expect("these keys are all that has no default")
}

/// Reads how queries and keys turn: `rope_parameters` (version 5), or `theta_key` and `rope_scaling` (version 4). Returns the
/// share of a head that turns, where the file has one.
pub(super) fn rotary(
    settings: &mut Settings,
    theta_key: &str,
    config: &mut TransformerConfig,
) -> Result<Option<f64>, NetworkFileError> {
    config.positions = Positions::Rotary;
    let mut base = settings.number(theta_key)?;
    let mut share = None;
    for key in ["rope_parameters", "rope_scaling"] {
        let Some(mut rope) = settings.table(key)? else { continue };
        base = rope.number("rope_theta")?.or(base);
        share = rope.number("partial_rotary_factor")?.or(share);
        let old_name = rope.text("type")?;
        let kind = rope.text("rope_type")?.or(old_name);
        config.rotary_scaling = match kind.as_deref() {
            None | Some("default") => config.rotary_scaling,
            Some("linear") => Some(RotaryScalingConfig::Linear { factor: required(&mut rope, "factor")? }),
            Some("llama3") => Some(RotaryScalingConfig::Llama3 {
                factor: required(&mut rope, "factor")?,
                low: required(&mut rope, "low_freq_factor")?,
                high: required(&mut rope, "high_freq_factor")?,
                context: rope.required_size("original_max_position_embeddings")?,
            }),
            Some(other) => {
                let expected =
                    "default, linear or llama3: others change with the length of the sequence, or scale attention too";
                return Err(rope.wrong("rope_type", &other.into(), expected));
            }
        };
        rope.check_finished(&[])?;
    }
    config.rotary_base = base;
    Ok(share)
}

fn required(settings: &mut Settings, key: &str) -> Result<f64, NetworkFileError> {
    settings.number(key)?.ok_or_else(|| settings.missing(key, "a number"))
}

/// Keys about files, training and other heads.
const NOTES: &[&str] = &[
    "architectures",
    "attn_implementation",
    "bos_token_id",
    "cls_token_id",
    "decoder_start_token_id",
    "dtype",
    "eos_token_id",
    "finetuning_task",
    "gradient_checkpointing",
    "id2label",
    "initializer_range",
    "is_decoder",
    "label2id",
    "mask_token_id",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "reorder_and_upcast_attn",
    "return_dict",
    "sep_token_id",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "task_specific_params",
    "tf_legacy_loss",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "unk_token_id",
    "use_bfloat16",
    "use_cache",
];

/// Nothing is dropped while a network is measured.
const DROPOUT: &[&str] = &[
    "attention_dropout",
    "attn_pdrop",
    "classifier_dropout",
    "embd_pdrop",
    "embed_dropout",
    "hidden_dropout",
    "resid_dropout",
    "resid_pdrop",
];

/// How text is generated.
const GENERATION: &[&str] = &[
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_scores",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict_in_generate",
    "suppress_tokens",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
];
