"""The help texts of the commands."""

from textwrap import wrap

from cnnlab import config

TRAIN_HELP = """Train a network and evaluate it.

\b
Examples:
  cnnlab train                            bundled digits, in seconds
  cnnlab train model=mnist_cnn            the chapter's network on MNIST
  cnnlab train model=mnist_mlp epochs=5 optim.lr=0.002
  cnnlab train experiment=mnist_cnn_best  a measured recipe
  cnnlab train -m seed=1,2,3              a sweep, one run a value
  cnnlab train -m model=cifar_cnn,cifar_bn --compare   figure 5-17
  cnnlab train model=cifar_bn augment.preview=true     preview the augmentation
  cnnlab train resume=last                continue an interrupted run
  cnnlab train init=last                  a new run from another run's weights
  cnnlab train dataset=folder dataset.root=photos    your own images
  cnnlab train model=mnist_cnn --cfg job  show all keys, run nothing
"""

EVAL_HELP = """Score a run: the last one, or the one named.

\b
Examples:
  cnnlab eval
  cnnlab eval outputs/train/2026-11-24_10-00-00_mnist_cnn
  cnnlab eval last split=validation checkpoint=best
  cnnlab eval --json

\b
Keys:
  checkpoint=result|last|best|STEP   split=test|validation|train
  mistakes=N  batch_size=N  device=auto|cpu|cuda  outputs=DIR
  single_batch_size=N    also report what single batches of N images would have shown
"""

PREDICT_HELP = """Classify pictures of your own by a run.

\b
Examples:
  cnnlab predict digit.png
  cnnlab predict photos/*.jpg run=outputs/train/2026-11-24_10-00-00_mnist_cnn
  cnnlab predict digit.png --format csv

\b
Keys:
  run=RUN  checkpoint=result|last|best|STEP  top_k=N  device=...  outputs=DIR
"""

BENCH_HELP = """Measure training speed and the machine's peak.

\b
Examples:
  cnnlab bench                            every model, one line each
  cnnlab bench model=mnist_cnn            one model, with time by phase
  cnnlab bench model=mnist_cnn batch_sizes=[32,64,128,256]
  cnnlab bench model=mnist_cnn --profile  also a trace for ui.perfetto.dev

\b
Keys: those of `cnnlab train`, and
  seconds=S   batch_sizes=[N,...]
"""

COMPARE_HELP = """Put runs side by side: curves, time to a threshold, scores.

\b
Examples:
  cnnlab compare outputs/train/*_cifar_cnn outputs/train/*_cifar_bn
  cnnlab compare outputs/train/2026-11-24_10-00-00_sweep
  cnnlab compare RUN RUN thresholds=[0.9,0.95] --json

\b
Keys:
  thresholds=[...]   consecutive=N   name=NAME   outputs=DIR
"""

VISUALIZE_HELP = """Look inside a run: the last one, or the one named.

\b
Examples:
  cnnlab visualize                        all visualizers, and report.html
  cnnlab visualize filters last layer=conv_2
  cnnlab visualize saliency photo.jpg     an image of your own
  cnnlab visualize saliency indices=3,17 target=cat
  cnnlab visualize activation_maximization feature_maps last
  cnnlab visualize invariance RUN against=ANOTHER
  cnnlab visualize feature_maps filters=vertical,horizontal,sobel    no run

\b
Visualizers:
  filters                  the first layer's, and their training history
  feature_maps             an image's maps in each layer
  top_activations          the images that activate each channel most
  saliency                 the pixels a prediction depends on, by five methods
  activation_maximization  the input that maximizes a class or channel
  invariance               the effect of shifts, rotations and darkening

\b
Keys:
  run=RUN  checkpoint=result|last|best|STEP  split=test|validation|train
  indices=[N,...]  images=[FILE,...]  seed=N  device=...  outputs=DIR
  and each visualizer's own, without its name where it is the only one:
  `--cfg job` shows all
"""

EMBED_HELP = """Map the features that a network has learned, drawn with the images.

\b
Examples:
  cnnlab embed --tsne                     the last run, the test set
  cnnlab embed RUN --pca split=train n=null
  cnnlab embed RUN layer=conv_2           any layer's output
  cnnlab embed RUN layer=pixels           raw pixels, for comparison
  cnnlab embed RUN ANOTHER                two networks, aligned maps
  cnnlab embed RUN split=photos           your images among the test set
  cnnlab embed features=resnet18 split=photos    a network trained on
                                          ImageNet, your images only

\b
Keys:
  run=RUN  checkpoint=result|last|best|STEP  n=N|null  seed=N  seeds=N
  split=test|validation|train|trainval|DIR  layer=NAME|pixels  features=NAME
  neighbors=N  near_duplicates=0..1|null  grid=N  device=...  outputs=DIR
  of t-SNE: perplexity=P  steps=N  early_steps=N  early_exaggeration=X  lr=X
"""

STYLIZE_HELP = """Render an image in the style of another (neural style transfer).

\b
Examples:
  cnnlab stylize photo.jpg painting.jpg    writes photo_painting.png beside it
  cnnlab stylize photo.jpg painting.jpg strength=0.9 size=800
  cnnlab stylize photo.jpg painting.jpg out=a.jpg     or .tif, .webp
  cnnlab stylize photo.jpg painting.jpg --time 30s
  cnnlab stylize photo.jpg one.jpg two.jpg style_weights=[2,1]
  cnnlab stylize photo.jpg painting.jpg color=content
  cnnlab stylize photo.jpg painting.jpg style=chapter
  cnnlab stylize photos/ painting.jpg      a folder: photos_painting/
  cnnlab stylize photo.jpg painting.jpg size=4000 memory_limit=4GB out=a.jpg
  cnnlab stylize --reproduce photo_painting.png photo.jpg painting.jpg
  cnnlab stylize --score any.png photo.jpg painting.jpg

\b
Keys:
  strength=0..1 (0.8)  size=N (512; null: the photograph's own)
  color=style|content|matched  start=content|noise|style
  style=relative|chapter  ratio=X  layers=[...]  content_layer=NAME
  features=auto|vgg19|vgg16|bundled|random  features.weights=FILE
  features.pool=max|average  optimizer=lbfgs|adam
  steps=N (a scale)  first_steps=N (the coarsest)  coarsest=N (its pixels)
  style_scale=X  total_variation=X  out=FILE  seed=N  device=...
  memory_limit=4GB  max_tile_pixels=N  outputs=DIR (logs)
"""

DESCRIBE_HELP = """Describe a network's layers: volumes, parameters, work, memory.

\b
Examples:
  cnnlab describe model=mnist_cnn
  cnnlab describe last                    the newest run's network
  cnnlab describe model=vgg16 figure=vgg16.svg
  cnnlab describe model=mnist_cnn layer=conv_1.conv   its formulas
  cnnlab describe conv w=5 h=5 d=3 e=3 s=2 p=1 k=2    of any layer
  cnnlab describe pool w=28 h=28 d=32 e=3 s=2
  cnnlab describe growth                  figure 5-3: image and JSON

\b
Keys: those of `cnnlab train` (of a run: batch_size), and
  layer=NAME   formulas=true   figure=FILE (.svg and .png)
  growth.sizes=[N,...]  growth.depth=N  growth.kernel_size=N
  growth.units=N
Nothing is loaded, downloaded or allocated; without figure= nothing is
written, except by growth.
"""

LR_FIND_HELP = """Find a learning rate by a range test.

\b
Examples:
  cnnlab lr-find
  cnnlab lr-find model=mnist_cnn
  cnnlab lr-find model=mnist_mlp optim=sgd min_lr=1e-4 max_lr=100

\b
Keys: those of `cnnlab train`, and
  min_lr=LR   max_lr=LR   steps=N   smoothing=0..1
"""


def format_group_help() -> str:
    """Return every configuration group with its options, a line each."""
    rows = [
        row
        for group, options in config.list_groups("train").items()
        for row in wrap(
            " | ".join(options),
            76,
            initial_indent=f"  {group + '=':<12}",
            subsequent_indent=" " * 14,
        )
    ]
    return "\b\nGroups, and what each can be:\n" + "\n".join(rows)
