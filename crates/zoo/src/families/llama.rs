//! Llama (Touvron et al. 2023) and what has its names: Mistral (Jiang et al. 2023) and Qwen2 (Yang et al. 2024).

use serde_json::json;

use super::NetworkFileError;
use super::hugging_face::{plain, rotary};
use super::settings::Settings;
use super::source::{Heads, Source};
use super::tensor_names::Place;
use crate::{Normalization, TransformerConfig};

pub(super) fn network(settings: &mut Settings, kind: &str) -> Result<TransformerConfig, NetworkFileError> {
    let layers = settings.required_size("num_hidden_layers")?;
    let d_model = settings.required_size("hidden_size")?;
    let (heads, vocabulary) = (settings.required_size("num_attention_heads")?, settings.required_size("vocab_size")?);
    // Positions turn: there are no rows that a longer text would lack.
    settings.take("max_position_embeddings");
    let key_value_heads = settings.size("num_key_value_heads")?.filter(|&n| n != heads);
    let has_biases = settings.flag("attention_bias")?.unwrap_or(kind == "qwen2");
    if kind != "llama" && has_biases != (kind == "qwen2") {
        let expected = "nothing: only llama has this key";
        return Err(settings.wrong("attention_bias", &has_biases.into(), expected));
    }
    settings.only("mlp_bias", &json!(false), "a gated MLP has no bias before its gate here")?;
    let mut config = TransformerConfig {
        d_mlp: Some(settings.required_size("intermediate_size")?),
        d_head: settings.size("head_dim")?.filter(|&width| width.checked_mul(heads) != Some(d_model)),
        activation: Some(settings.activation("hidden_act", Some("silu"))?),
        norm_eps: settings.number("rms_norm_eps")?.unwrap_or(1e-6),
        normalization: Normalization::RmsNorm,
        key_value_heads,
        gated_mlp: true,
        tied_unembed: settings.flag("tie_word_embeddings")?.unwrap_or(false),
        attention_biases: has_biases,
        // Queries, keys and values of Qwen2 have biases, what comes out of attention has none.
        output_bias: (kind == "qwen2").then_some(false),
        mlp_biases: false,
        ..plain(layers, d_model, heads, vocabulary)
    };
    if let Some(share) = rotary(settings, "rope_theta", &mut config)?.filter(|&share| share != 1.0) {
        return Err(settings.wrong("rope_parameters.partial_rotary_factor", &share.into(), "1, or nothing"));
    }
    match kind {
        "mistral" => config.window = settings.size("sliding_window")?,
        "qwen2" => windows_of_qwen2(settings, &mut config)?,
        _ => {}
    }
    Ok(config)
}

/// Blocks from `max_window_layers` on have the window, or those that `layer_types` names.
fn windows_of_qwen2(settings: &mut Settings, config: &mut TransformerConfig) -> Result<(), NetworkFileError> {
    let is_used = settings.flag("use_sliding_window")?.unwrap_or(false);
    let window = settings.size("sliding_window")?.unwrap_or(4096);
    let first = settings.take("max_window_layers").map_or(Ok(28), |value| {
        value.as_u64().ok_or_else(|| settings.wrong("max_window_layers", &value, "a whole number"))
    })? as usize;
    let mut local: Vec<usize> = if is_used { (first..config.layers.max(first)).collect() } else { Vec::new() };
    if let Some(types) = settings.take("layer_types") {
        let wrong = |expected: &str| settings.wrong("layer_types", &types, expected);
        let of_each = format!("`full_attention` or `sliding_attention` for each of {} blocks", config.layers);
        let names = types.as_array().filter(|names| names.len() == config.layers).ok_or_else(|| wrong(&of_each))?;
        local.clear();
        for (layer, name) in names.iter().enumerate() {
            match name.as_str() {
                Some("full_attention") => {}
                Some("sliding_attention") if is_used => local.push(layer),
                Some("sliding_attention") => return Err(wrong("no window, because use_sliding_window is false")),
                _ => return Err(wrong(&of_each)),
            }
        }
    }
    config.window = (!local.is_empty()).then_some(window);
    config.window_layers = (!local.is_empty() && local.len() < config.layers).then_some(local);
    Ok(())
}

/// Where the parameter at `place` lies. Matrices are `[outputs, inputs]`.
pub(super) fn source(place: Place<'_>, shape: &[usize]) -> Option<Source> {
    let heads = Heads::of(shape);
    Some(match place {
        Place::Outside("embed.W_E") => Source::whole("embed_tokens.weight", shape),
        Place::Outside("ln_final.w") => Source::whole("norm.weight", shape),
        Place::Outside("unembed.W_U") => Source::transposed("lm_head.weight", shape),
        Place::Block(layer, name) => {
            let own = |rest: &str| format!("layers.{layer}.{rest}");
            match name {
                "ln1.w" => Source::whole(own("input_layernorm.weight"), shape),
                "ln2.w" => Source::whole(own("post_attention_layernorm.weight"), shape),
                "attn.W_Q" => heads?.rows(own("self_attn.q_proj.weight")),
                "attn.W_K" | "attn._W_K" => heads?.rows(own("self_attn.k_proj.weight")),
                "attn.W_V" | "attn._W_V" => heads?.rows(own("self_attn.v_proj.weight")),
                "attn.b_Q" => Source::joined(own("self_attn.q_proj.bias"), shape)?,
                "attn.b_K" | "attn._b_K" => Source::joined(own("self_attn.k_proj.bias"), shape)?,
                "attn.b_V" | "attn._b_V" => Source::joined(own("self_attn.v_proj.bias"), shape)?,
                "attn.W_O" => Source::columns_of_heads(own("self_attn.o_proj.weight"), shape)?,
                "attn.b_O" => Source::whole(own("self_attn.o_proj.bias"), shape),
                "mlp.W_gate" => Source::transposed(own("mlp.gate_proj.weight"), shape),
                "mlp.W_in" => Source::transposed(own("mlp.up_proj.weight"), shape),
                "mlp.W_out" => Source::transposed(own("mlp.down_proj.weight"), shape),
                _ => return None,
            }
        }
        Place::Outside(_) => return None,
    })
}
