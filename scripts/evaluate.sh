# Sourced by the eval_*.sh scripts, which set $root and $id_set: evaluates the run NAME, or --ckpt FILE in its place.
. "$root/scripts/environment.sh"
case "${1:-}" in
-h | --help) exec "$PYTHON" "$root/eval_cider.py" --help ;;
--ckpt) ;;
"" | -*)
    echo "usage: sh scripts/$(basename "$0") NAME|--ckpt FILE [options]     (NAME: a folder in checkpoints/$id_set/)" >&2
    exit 2
    ;;
*) set -- --name "$@" ;;
esac
exec "$PYTHON" "$root/eval_cider.py" --in-dataset "$id_set" "$@"
