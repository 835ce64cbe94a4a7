//! GPT-2 (Radford et al. 2019), also as Stanford CRFM trained it.

use super::NetworkFileError;
use super::hugging_face::plain;
use super::settings::Settings;
use super::source::{Heads, Source};
use super::tensor_names::Place;
use crate::TransformerConfig;

pub(super) fn network(settings: &mut Settings) -> Result<TransformerConfig, NetworkFileError> {
    let (layers, d_model) = (settings.required_size("n_layer")?, settings.required_size("n_embd")?);
    let (heads, vocabulary) = (settings.required_size("n_head")?, settings.required_size("vocab_size")?);
    let context = settings.required_size("n_positions")?;
    // What the first version of the file called them; the library reads `n_positions`.
    settings.take("n_ctx");
    let scales = settings.flag("scale_attn_weights")?.unwrap_or(true);
    Ok(TransformerConfig {
        d_mlp: Some(settings.size("n_inner")?.unwrap_or(4 * d_model)),
        activation: Some(settings.activation("activation_function", Some("gelu_new"))?),
        norm_eps: settings.number("layer_norm_epsilon")?.unwrap_or(1e-5),
        context: Some(context),
        attention_scale: (!scales).then_some(1.0),
        scale_by_layer: settings.flag("scale_attn_by_inverse_layer_idx")?.unwrap_or(false),
        tied_unembed: settings.flag("tie_word_embeddings")?.unwrap_or(true),
        attention_biases: true,
        ..plain(layers, d_model, heads, vocabulary)
    })
}

/// Where the parameter at `place` lies. Matrices are `[inputs, outputs]`; queries, keys and values are the thirds of one, each
/// with its heads one after another.
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
                "attn.W_Q" => heads?.third_of_columns(own("attn.c_attn.weight"), 0),
                "attn.W_K" => heads?.third_of_columns(own("attn.c_attn.weight"), 1),
                "attn.W_V" => heads?.third_of_columns(own("attn.c_attn.weight"), 2),
                "attn.b_Q" => Source::third_of_bias(own("attn.c_attn.bias"), shape, 0)?,
                "attn.b_K" => Source::third_of_bias(own("attn.c_attn.bias"), shape, 1)?,
                "attn.b_V" => Source::third_of_bias(own("attn.c_attn.bias"), shape, 2)?,
                "attn.W_O" => Source::joined(own("attn.c_proj.weight"), shape)?,
                "attn.b_O" => Source::whole(own("attn.c_proj.bias"), shape),
                "mlp.W_in" => Source::whole(own("mlp.c_fc.weight"), shape),
                "mlp.b_in" => Source::whole(own("mlp.c_fc.bias"), shape),
                "mlp.W_out" => Source::whole(own("mlp.c_proj.weight"), shape),
                "mlp.b_out" => Source::whole(own("mlp.c_proj.bias"), shape),
                _ => return None,
            }
        }
        Place::Outside(_) => return None,
    })
}
