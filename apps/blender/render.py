"""Renders one frame of the open scene with Cycles, the same on every machine. Arguments behind `--`: FRAME [--samples N] [--width N] [--height N]."""

import argparse
import os
import sys

import bpy

parser = argparse.ArgumentParser(prog="render.py")
parser.add_argument("frame", type=int)
parser.add_argument("--samples", type=int, help="of each pixel, instead of the scene's")
parser.add_argument("--width", type=int, help="of the picture in pixels, instead of the scene's")
parser.add_argument("--height", type=int)
settings = parser.parse_args(sys.argv[sys.argv.index("--") + 1 :])

scene = bpy.context.scene
render, cycles = scene.render, scene.cycles
render.engine = "CYCLES"
cycles.device = "CPU"
# The noise is the seed's. A denoiser has code of its own for each kind of processor.
cycles.seed = 1
cycles.use_animated_seed = False
cycles.use_denoising = False
# How far a sampling adapts, or a limit of time reaches, depends on the machine.
cycles.use_adaptive_sampling = False
cycles.time_limit = 0
# Cycles and Embree, its library of ray tracing, have code of their own for newer processors, which rounds in other ways. The
# first can be told to leave it alone and the second cannot, so rays are traced by Cycles itself.
bpy.context.preferences.view.show_developer_ui = True
bpy.context.preferences.experimental.use_cycles_debug = True
cycles.debug_use_cpu_avx2 = False
cycles.debug_use_cpu_avx = False
cycles.debug_bvh_layout = "BVH2"
render.threads_mode = "FIXED"
render.threads = 1
if settings.samples:
    cycles.samples = settings.samples
if settings.width:
    render.resolution_x = settings.width
if settings.height:
    render.resolution_y = settings.height
if settings.width or settings.height:
    render.resolution_percentage = 100
# No date, host or time in the file.
for name in dir(render):
    if name.startswith("use_stamp"):
        setattr(render, name, False)
render.image_settings.file_format = "PNG"
render.image_settings.color_mode = "RGB"
render.image_settings.color_depth = "8"
render.filepath = os.path.join(os.environ["IEXEC_OUT"], "frame.png")
render.use_file_extension = False
scene.frame_set(settings.frame)
bpy.ops.render.render(write_still=True)
