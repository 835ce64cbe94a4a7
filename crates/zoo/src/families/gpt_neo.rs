//! GPT-Neo (Black et al. 2021): blocks with a window between blocks without, scores that are not scaled.

use serde_json::Value;

use super::NetworkFileError;
use super::hugging_face::plain;
use super::settings::Settings;
use super::source::{Heads, Source};
use super::tensor_names::Place;
use crate::TransformerConfig;

pub(super) fn network(settings: &mut Settings) -> Result<TransformerConfig, NetworkFileError> {
    let (layers, d_model) = (settings.required_size("num_layers")?, settings.required_size("hidden_size")?);
    let (heads, vocabulary) = (settings.required_size("num_heads")?, settings.required_size("vocab_size")?);
    let context = settings.required_size("max_position_embeddings")?;
    let window = settings.size("window_size")?.unwrap_or(256);
    let local = local_layers(settings, layers)?;
    Ok(TransformerConfig {
        d_mlp: Some(settings.size("intermediate_size")?.unwrap_or(4 * d_model)),
        activation: Some(settings.activation("activation_function", Some("gelu_new"))?),
        norm_eps: settings.number("layer_norm_epsilon")?.unwrap_or(1e-5),
        context: Some(context),
        attention_scale: Some(1.0),
        window: (!local.is_empty()).then_some(window),
        window_layers: (!local.is_empty() && local.len() < layers).then_some(local),
        tied_unembed: settings.flag("tie_word_embeddings")?.unwrap_or(true),
        output_bias: Some(true),
        ..plain(layers, d_model, heads, vocabulary)
    })
}

/// The blocks with a window: `attention_types` `[[["global", "local"], 2]]` means these two, twice. `attention_layers`, which
/// some files have, is the same list written out.
fn local_layers(settings: &mut Settings, layers: usize) -> Result<Vec<usize>, NetworkFileError> {
    let written_out = settings.take("attention_layers");
    let value = settings.take("attention_types").unwrap_or_else(|| serde_json::json!([[["global", "local"], 12]]));
    let wrong = |settings: &Settings, key: &str, found: &Value| {
        let expected = format!("{layers} blocks that are `global` or `local`, such as [[[\"global\", \"local\"], 1]]");
        settings.wrong(key, found, &expected)
    };
    let expanded = expand(&value, layers).ok_or_else(|| wrong(settings, "attention_types", &value))?;
    if let Some(written_out) = written_out {
        let own: Vec<Value> =
            expanded.iter().map(|&is_local| Value::from(if is_local { "local" } else { "global" })).collect();
        if written_out != Value::Array(own) {
            let expected = "the blocks that `attention_types` has";
            return Err(settings.wrong("attention_layers", &written_out, expected));
        }
    }
    Ok((0..layers).filter(|&layer| expanded[layer]).collect())
}

/// Whether each of `layers` blocks is local.
fn expand(value: &Value, layers: usize) -> Option<Vec<bool>> {
    let mut expanded = Vec::new();
    for item in value.as_array()? {
        let [kinds, times] = item.as_array()?.as_slice() else { return None };
        let kinds: Vec<bool> = kinds
            .as_array()?
            .iter()
            .map(|kind| match kind.as_str() {
                Some("local") => Some(true),
                Some("global") => Some(false),
                _ => None,
            })
            .collect::<Option<_>>()?;
        for _ in 0..times.as_u64()? {
            expanded.extend(&kinds);
            // Nothing is expanded beyond what is asked for, however often the file says.
            if expanded.len() > layers || kinds.is_empty() {
                return None;
            }
        }
    }
    (expanded.len() == layers).then_some(expanded)
}

/// Where the parameter at `place` lies. Matrices are `[outputs, inputs]`.
pub(super) fn source(place: Place<'_>, shape: &[usize]) -> Option<Source> {
    let heads = Heads::of(shape);
    Some(match place {
        Place::Outside("embed.W_E") => Source::whole("wte.weight", shape),
        Place::Outside("pos_embed.W_pos") => Source::whole("wpe.weight", shape),
        Place::Outside("ln_final.w") => Source::whole("ln_f.weight", shape),
        Place::Outside("ln_final.b") => Source::whole("ln_f.bias", shape),
        Place::Outside("unembed.W_U") => Source::transposed("lm_head.weight", shape),
        Place::Block(layer, name) => {
            let own = |rest: &str| format!("h.{layer}.{rest}");
            match name {
                "ln1.w" => Source::whole(own("ln_1.weight"), shape),
                "ln1.b" => Source::whole(own("ln_1.bias"), shape),
                "ln2.w" => Source::whole(own("ln_2.weight"), shape),
                "ln2.b" => Source::whole(own("ln_2.bias"), shape),
                "attn.W_Q" => heads?.rows(own("attn.attention.q_proj.weight")),
                "attn.W_K" => heads?.rows(own("attn.attention.k_proj.weight")),
                "attn.W_V" => heads?.rows(own("attn.attention.v_proj.weight")),
                "attn.W_O" => Source::columns_of_heads(own("attn.attention.out_proj.weight"), shape)?,
                "attn.b_O" => Source::whole(own("attn.attention.out_proj.bias"), shape),
                "mlp.W_in" => Source::transposed(own("mlp.c_fc.weight"), shape),
                "mlp.b_in" => Source::whole(own("mlp.c_fc.bias"), shape),
                "mlp.W_out" => Source::transposed(own("mlp.c_proj.weight"), shape),
                "mlp.b_out" => Source::whole(own("mlp.c_proj.bias"), shape),
                _ => return None,
            }
        }
        Place::Outside(_) => return None,
    })
}
