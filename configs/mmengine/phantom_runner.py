# The demo's recipe inside mmengine's Runner: Runner.from_cfg(Config.fromfile(this file)).train()
custom_imports = dict(imports=["foundationx.apps.mmengine_loop"])
recipe = dict(config="configs/quickstart/phantom.py", data_root="work_dirs/demo/phantoms")

model = dict(type="RecipeModel", **recipe)
train_dataloader = recipe
optim_wrapper = dict(type="OptimWrapper", constructor="RecipeOptimizer", optimizer=recipe)
train_cfg = dict(type="CyclicLoop")
default_hooks = dict(logger=dict(type="LoggerHook", interval=10), checkpoint=None, sampler_seed=None)
work_dir = "work_dirs/mmengine_phantom"
