//! `HookedTransformerConfig` of TransformerLens.

use serde_json::{Value, json};

use super::NetworkFileError;
use super::hugging_face::plain;
use super::settings::Settings;
use crate::{Normalization, Positions, RotaryScalingConfig, TransformerConfig};

/// The network whose `state_dict` has all of these parameters; biases that an architecture does not have are zeros there.
pub(super) fn network(mut settings: Settings) -> Result<TransformerConfig, NetworkFileError> {
    let settings = &mut settings;
    let (layers, d_model) = (settings.required_size("n_layers")?, settings.required_size("d_model")?);
    let d_head = settings.required_size("d_head")?;
    let heads = match settings.take("n_heads") {
        None => d_model / d_head,
        Some(value) if value == json!(-1) => d_model / d_head,
        Some(value) => value
            .as_u64()
            .filter(|n| (1..=1 << 16).contains(n))
            .ok_or_else(|| settings.wrong("n_heads", &value, "a whole number, at least 1"))?
            as usize,
    };
    let vocabulary = settings.required_size("d_vocab")?;
    let out = settings.take("d_vocab_out").unwrap_or(json!(-1));
    if out != json!(-1) && out != json!(vocabulary) {
        let expected = format!("{vocabulary}, as d_vocab: W_U has a column for each row of W_E here");
        return Err(settings.wrong("d_vocab_out", &out, &expected));
    }
    let context = settings.required_size("n_ctx")?;
    let mut config = TransformerConfig {
        d_head: (d_head.checked_mul(heads) != Some(d_model)).then_some(d_head),
        norm_eps: settings.number("eps")?.unwrap_or(1e-5),
        key_value_heads: settings.size("n_key_value_heads")?,
        attention_only: settings.flag("attn_only")?.unwrap_or(false),
        gated_mlp: settings.flag("gated_mlp")?.unwrap_or(false),
        parallel_block: settings.flag("parallel_attn_mlp")?.unwrap_or(false),
        scale_by_layer: settings.flag("scale_attn_by_inverse_layer_idx")?.unwrap_or(false),
        attention_biases: true,
        unembed_bias: true,
        context: Some(context),
        ..plain(layers, d_model, heads, vocabulary)
    };
    if config.attention_only {
        settings.take("d_mlp");
        settings.take("act_fn");
    } else {
        config.d_mlp = Some(settings.size("d_mlp")?.unwrap_or(4 * d_model));
        config.activation = Some(settings.activation("act_fn", None)?);
    }
    config.normalization = normalization(settings)?;
    positions(settings, &mut config)?;
    attention(settings, &mut config)?;
    refuse_the_rest(settings)?;
    Ok(config)
}

fn normalization(settings: &mut Settings) -> Result<Normalization, NetworkFileError> {
    let is_given = settings.has("normalization_type");
    // `null` means none, while a key that is left out means the default.
    let is_null = !is_given && settings.has_key("normalization_type");
    let named = settings.text("normalization_type")?;
    Ok(match named.as_deref() {
        None if is_null => Normalization::None,
        // TOML has no `null`.
        Some("none") => Normalization::None,
        None | Some("LN") => Normalization::LayerNorm,
        Some("LNPre") => Normalization::LayerNormPre,
        Some("RMS") => Normalization::RmsNorm,
        Some("RMSPre") => Normalization::RmsNormPre,
        Some(other) => {
            return Err(settings.wrong("normalization_type", &other.into(), "LN, LNPre, RMS, RMSPre or null"));
        }
    })
}

fn positions(settings: &mut Settings, config: &mut TransformerConfig) -> Result<(), NetworkFileError> {
    let kind = settings.text("positional_embedding_type")?.unwrap_or_else(|| "standard".to_owned());
    let (dim, base) = (settings.size("rotary_dim")?, settings.number("rotary_base")?);
    config.positions = match kind.as_str() {
        "standard" => Positions::Learned,
        "shortformer" => Positions::Shortformer,
        "rotary" => Positions::Rotary,
        other => {
            let expected = "standard, rotary or shortformer";
            return Err(settings.wrong("positional_embedding_type", &other.into(), expected));
        }
    };
    let is_scaled = settings.flag("use_NTK_by_parts_rope")?.unwrap_or(false);
    let scaling = RotaryScalingConfig::Llama3 {
        factor: settings.number("NTK_by_parts_factor")?.unwrap_or(8.0),
        low: settings.number("NTK_by_parts_low_freq_factor")?.unwrap_or(1.0),
        high: settings.number("NTK_by_parts_high_freq_factor")?.unwrap_or(4.0),
        context: settings.size("NTK_original_ctx_len")?.unwrap_or(8192),
    };
    if config.positions == Positions::Rotary {
        config.rotary_dim = dim.filter(|&dim| dim != config.head_width());
        config.rotary_base = base;
        config.rotary_scaling = is_scaled.then_some(scaling);
        // No parameter has a row for each position.
        config.context = None;
    }
    settings.only("rotary_adjacent_pairs", &json!(false), "pairs are i and i + half, as in GPT-NeoX")
}

fn attention(settings: &mut Settings, config: &mut TransformerConfig) -> Result<(), NetworkFileError> {
    let is_scaled = settings.flag("use_attn_scale")?.unwrap_or(true);
    let divisor = settings.number("attn_scale")?.filter(|&divisor| divisor != -1.0);
    let usual = (config.head_width() as f64).sqrt();
    config.attention_scale = if is_scaled { divisor.filter(|&divisor| divisor != usual) } else { Some(1.0) };
    settings.only("attention_dir", &json!("causal"), "networks here read from left to right")?;
    let (is_local, window) = (settings.flag("use_local_attn")?.unwrap_or(false), settings.size("window_size")?);
    let types = settings.take("attn_types");
    if is_local {
        let types = types.unwrap_or(Value::Null);
        let expected = format!("`global` or `local` for each of {} blocks", config.layers);
        let names = types.as_array().filter(|names| names.len() == config.layers);
        let names = names.ok_or_else(|| settings.wrong("attn_types", &types, &expected))?;
        let mut local = Vec::new();
        for (layer, name) in names.iter().enumerate() {
            match name.as_str() {
                Some("local") => local.push(layer),
                Some("global") => {}
                _ => return Err(settings.wrong("attn_types", &types, &expected)),
            }
        }
        if !local.is_empty() {
            config.window = Some(window.ok_or_else(|| settings.missing("window_size", "a whole number"))?);
            config.window_layers = (local.len() < config.layers).then_some(local);
        }
    }
    Ok(())
}

fn refuse_the_rest(settings: &mut Settings) -> Result<(), NetworkFileError> {
    let not_built = "networks here do not have it";
    for key in ["final_rms", "use_qk_norm", "post_embedding_ln", "use_normalization_before_and_after", "load_in_4bit"] {
        settings.only(key, &json!(false), not_built)?;
    }
    for key in ["attn_scores_soft_cap", "output_logits_soft_cap"] {
        if let Some(cap) = settings.number(key)?.filter(|&cap| cap > 0.0) {
            return Err(settings.wrong(key, &cap.into(), "-1, or nothing: networks here do not have it"));
        }
    }
    settings.check_finished(&[NOTES])
}

/// Keys about hooks, tokens, files and training.
const NOTES: &[&str] = &[
    "model_name",
    "use_attn_result",
    "use_split_qkv_input",
    "use_hook_mlp_in",
    "use_attn_in",
    "use_hook_tokens",
    "ungroup_grouped_query_attention",
    "original_architecture",
    "from_checkpoint",
    "checkpoint_index",
    "checkpoint_label_type",
    "checkpoint_value",
    "tokenizer_name",
    "tokenizer_prepends_bos",
    "default_prepend_bos",
    "decoder_start_token_id",
    "init_mode",
    "init_weights",
    "initializer_range",
    "device",
    "n_devices",
    "seed",
    "n_params",
    "dtype",
    "trust_remote_code",
    "tie_word_embeddings",
    "relative_attention_max_distance",
    "relative_attention_num_buckets",
];
