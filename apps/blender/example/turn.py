"""A monkey's head that turns once in 24 frames."""

import math

import bpy

bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.frame_start, scene.frame_end = 1, 24
scene.cycles.samples = 8
scene.render.resolution_x, scene.render.resolution_y = 320, 180

bpy.ops.mesh.primitive_plane_add(size=20)
bpy.ops.mesh.primitive_monkey_add(size=2, location=(0, 0, 1))
head = bpy.context.object
for frame, turn in ((1, 0), (25, 2 * math.pi)):
    head.rotation_euler.z = turn
    head.keyframe_insert("rotation_euler", frame=frame)
for curve in head.animation_data.action.fcurves:
    for point in curve.keyframe_points:
        point.interpolation = "LINEAR"
paint = bpy.data.materials.new("paint")
paint.diffuse_color = (0.8, 0.3, 0.1, 1)
paint.use_nodes = True
paint.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (0.8, 0.3, 0.1, 1)
head.data.materials.append(paint)

bpy.ops.object.light_add(type="SUN", rotation=(0.6, 0.3, 0.4))
bpy.context.object.data.energy = 4
bpy.ops.object.camera_add(location=(0, -6, 2), rotation=(math.radians(80), 0, 0))
scene.camera = bpy.context.object
